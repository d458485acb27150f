"""GPUs whose application Xids come again."""

from collections.abc import Iterator

from sentinel.core import proofs
from sentinel.core.diagnose.predicates.case import Case, Match
from sentinel.core.proofs import PROBATION
from sentinel.core.strikes import component_of, is_ours, place_of
from sentinel.model.counted import counted
from sentinel.model.fact import FindingReported
from sentinel.model.finding import gpu_of
from sentinel.model.ids import DAY_S, Instant, NodeId
from sentinel.model.incident import Suspect


def app_xid_repeats(case: Case) -> Match | None:
    """An application Xid came again on the same GPU within a day, and on no other GPU.

    One that names a part of the GPU (GPC and TPC, Xid 13) must come again on that part and on no other: what
    is spread over a GPU is software. One that comes again before the job went on may be the program's at that
    very step: it does not count.
    """
    began = case.incident.opened - case.rules.policy.correlate_s
    for fact in case.all(FindingReported):
        here = place_of(fact.finding)
        times = [at for at, where in _struck(case, fact.node) if where == here]
        node = case.state.nodes.get(fact.node)
        probation = node is not None and proofs.on_probation(node, case.state) and bool(times)
        enough = len(times) >= case.rules.policy.app_xids_per_day and min(times) < began
        if not ((enough or probation) and is_ours(fact.finding)):
            continue
        if any(name != fact.node or _is_elsewhere(place, here) for name, place in _all_struck(case)):
            return None  # on two GPUs it is software (NVSentinel's rule)
        why = f"{here} of {fact.node}: application Xid {counted(len(times), 'time')} within a day"
        why += PROBATION if probation else ""
        return Match((Suspect(fact.node, gpu=gpu_of(fact.finding.component)),), why)
    return None


def _is_elsewhere(place: str, here: str) -> bool:
    """Say whether another strike was on another GPU, or on another part where both name their part."""
    gpu = component_of(here)
    return component_of(place) != gpu or (gpu != here and gpu != place != here)


def _struck(case: Case, name: NodeId) -> list[tuple[Instant, str]]:
    node = case.state.nodes.get(name)
    return [each for each in node.app_xids if each[0] > case.state.now - DAY_S] if node else []


def _all_struck(case: Case) -> Iterator[tuple[NodeId, str]]:
    return ((name, where) for name in case.state.nodes for _, where in _struck(case, name))
