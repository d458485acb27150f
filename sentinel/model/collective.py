"""What a collective check is: it measures on several nodes together, and its judge sees them all."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from msgspec import Struct

from sentinel.model.finding import Finding
from sentinel.model.ids import Address, NodeId, NodeName, Port, Rank, Seconds, Span

Members: TypeAlias = tuple[NodeId, ...]
"""Nodes that measure together."""


class Meeting(Struct, frozen=True):
    """Where the members of one measurement meet, and which of them this node is."""

    members: tuple[NodeName, ...]
    """In the order of their ranks."""
    addresses: tuple[Address, ...]
    """Theirs, in the same order; the first member listens at its own."""
    port: Port
    rank: Rank
    """Of this node."""
    deadline: Span
    """Whoever has not answered after so many seconds is ended."""


class MemberSample(Struct, frozen=True, gc=False):
    """What one node measured with its fellow members."""

    node: NodeId
    members: Members
    values: Mapping[str, float] = {}
    """By name, with units in it; empty if nothing was measured."""
    error: str = ""
    """Why nothing was; that accuses nobody by itself."""


class MemberFinding(Struct, frozen=True, gc=False):
    """What a collective check's judge found, and on which node."""

    node: NodeId
    finding: Finding


Round: TypeAlias = Sequence[Members]
"""Who measures with whom at the same time; no node is in two of them."""


def tournament(nodes: Sequence[NodeId]) -> Sequence[Round]:
    """Pair all nodes in rounds, so that each meets each other one once and none two at a time.

    One stays where it is and the others go round it by a place each time.
    """
    seats: list[NodeId | None] = [*nodes, *[None] * (len(nodes) % 2)]
    rounds = []
    for _ in range(len(seats) - 1):
        opposite = zip(seats[: len(seats) // 2], reversed(seats), strict=False)
        rounds.append([(one, other) for one, other in opposite if one is not None and other is not None])
        seats = [seats[0], seats[-1], *seats[1:-1]]
    return rounds


@dataclass(frozen=True, slots=True)
class CollectiveCheck:
    """A check of several nodes together, run only when asked. `checks/<name>.py` defines it as `CHECK`."""

    name: str
    deadline: Seconds
    """Of one measurement: the child that has not answered by then is killed, and gave no answer."""
    measure: Callable[[Meeting], Mapping[str, float]]
    """Runs on every member at once; may hang, may raise."""
    judge: Callable[[Sequence[MemberSample]], Iterable[MemberFinding]]
    """Pure: sees all samples of all rounds that fitted into the probe's deadline."""
    causes: tuple[str, ...]
    """Every cause that its findings can raise; each has a runbook."""
    rounds: Callable[[Sequence[NodeId]], Sequence[Round]] = tournament
    """Who measures with whom, one round after the other."""
