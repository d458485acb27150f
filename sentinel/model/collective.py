"""What a collective check is: it measures on several nodes together, and its judge sees them all."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from msgspec import Struct

from sentinel.model.finding import Finding
from sentinel.model.ids import Address, Count, NodeId, NodeName, Port, Rank, Seconds, Span

NO_ANSWER = "no answer"
"""The error of a member that did not answer in time: it is asked no more."""
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
    round: Count = 0
    """In which of the probe's rounds, from 0."""
    rack: str = ""
    """What the node reaches others through: its switch, or else its rack; empty where no topology says."""
    busy: bool = False
    """Ranks sit on the node, so that a job's traffic may take a share meanwhile."""


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


def all_pairs(nodes: Sequence[NodeId], samples: Sequence[MemberSample]) -> Round:
    """Give those of the next tournament round that have not met, until every two have."""
    met = {frozenset(sample.members) for sample in samples}
    left = ([pair for pair in together if frozenset(pair) not in met] for together in tournament(nodes))
    return next(filter(None, left), [])


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
    plan: Callable[[Sequence[NodeId], Sequence[MemberSample]], Round] = all_pairs
    """Pure: the next round of nodes that answer, given all samples so far; an empty one ends the probe.

    Nodes come in the order of the job's ranks, and idle ones after them.
    """
