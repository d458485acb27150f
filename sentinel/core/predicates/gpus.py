"""GPUs whose application Xids come again."""

from sentinel.core.predicates.case import Case, Match
from sentinel.model.fact import FindingReported
from sentinel.model.incident import Suspect


def app_xid_repeats(case: Case) -> Match | None:
    """An application Xid came again on the same GPU within a day."""
    for fact in case.all(FindingReported):
        node = case.state.nodes.get(fact.node)
        if node is None:
            continue
        component = fact.finding.component
        times = [at for at, where in node.app_xids if where == component and at > case.state.now - 86400]
        if len(times) >= case.rules.policy.app_xids_per_day:
            told = f"{component} of {node.id}: application Xid {len(times)} times within a day"
            return Match((Suspect(node.id, gpu=gpu_of(component)),), told)
    return None


def gpu_of(component: str) -> int | None:
    """Return the index in a component such as `gpu-3`."""
    kind, _, index = component.partition("-")
    return int(index) if kind == "gpu" and index.isdigit() else None
