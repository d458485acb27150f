"""Members of a collective probe: what is known of them, and which of them measure together next."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from sentinel.core.baselines import hold
from sentinel.core.state import State
from sentinel.model.collective import NO_ANSWER, CollectiveCheck, Members, MemberSample
from sentinel.model.ids import Instant, NodeId
from sentinel.model.policy import Policy
from sentinel.runtime.probe import Hold, line

REACHED_BY = ("switch", "rack")
"""Kinds of labels that say what nodes reach others through, the nearest first."""


class Member(NamedTuple):
    """What is known of a node that takes part in a collective probe."""

    rack: str
    busy: bool


def known_of(members: Members, state: State) -> Mapping[NodeId, Member]:
    """Say where members are, as far as topology and jobs tell: in one kind of label, or they are no likes.

    That is the switch, or the rack where more of them have one: who shares a rack with another has not to be
    elsewhere because its switch alone is named.
    """
    labels = [state.nodes[name].labels for name in members]
    kind = max(REACHED_BY, key=lambda kind: sum(kind in has for has in labels))
    racks = {name: has.get(kind, "") for name, has in zip(members, labels, strict=True)}
    return {name: Member(rack, bool(state.workers.sitting(name))) for name, rack in racks.items()}


def fleet_of(state: State, policy: Policy, now: Callable[[], Instant]) -> Hold:
    """Hold figures against what a state knows at that moment."""
    return lambda check, figures: hold(state.baselines, check, figures, now(), policy)


def planned(
    check: CollectiveCheck, nodes: Sequence[NodeId], samples: Sequence[MemberSample]
) -> tuple[tuple[Members, ...], str]:
    """Have a collective check plan its next round; gives it, and why it has no plan.

    Who did not answer takes part no more: otherwise every later round would wait for it, too.
    """
    mute = {sample.node for sample in samples if sample.error == NO_ANSWER}
    able = [node for node in nodes if node not in mute]
    try:
        together = tuple(map(tuple, check.plan(able, samples)))
        named = [node for members in together for node in members]
        if len(named) != len({*named}) or not {*named} <= {*able}:
            raise ValueError("a round names each able node once at most")
    except (Exception, SystemExit) as error:  # a check from elsewhere may raise, and give, anything
        return (), line(error)
    return together, ""


def placed(sample: MemberSample, number: int, about: Mapping[NodeId, Member]) -> MemberSample:
    """Say in which round a sample was measured, and where."""
    rack, busy = about.get(sample.node, Member("", False))
    return msgspec.structs.replace(sample, round=number, rack=rack, busy=busy)
