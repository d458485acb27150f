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


class Member(NamedTuple):
    """What is known of a node that takes part in a collective probe."""

    rack: str
    busy: bool


def known_of(members: Members, state: State) -> Mapping[NodeId, Member]:
    """Say where members are, as far as topology and jobs tell."""
    labels = {name: state.nodes[name].labels for name in members}
    racks = {
        name: next((has[kind] for kind in ("switch", "rack") if kind in has), "")
        for name, has in labels.items()
    }
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
