"""What the status shows of what the controller believes: each decision's own time, and what is left."""

from types import SimpleNamespace
from typing import Any

from sentinel import runbooks
from sentinel.core.fold import fold
from sentinel.core.state import Rules, State
from sentinel.model.fact import Commanded, Fact, FindingReported, NodeJoined
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy
from sentinel.runtime.view import ControllerView

RULES = Rules(Policy(evict_share=1.0), runbooks.load())
LOST = Finding("gpu", "gpu-lost", "gpu-0", Health.CRITICAL, "GPU is lost")
N1, N2, N3 = (NodeId(f"n{number}") for number in (1, 2, 3))


class Nobody:
    """Knows no reports, no jobs and no trouble."""

    trouble = ""

    def heard_age(self, node: NodeId, now: float) -> None:
        return None


def told(*facts: Fact) -> Any:
    """Give the status after these facts."""
    state = State(0.0)
    for fact in facts:
        fold(state, fact, RULES)
    ledger: Any = SimpleNamespace(state=state, rules=RULES)
    nobody: Any = Nobody()
    return ControllerView("a", ledger, nobody, nobody, nobody, lambda: 99.0).status()


JOINED = tuple(NodeJoined(1.0, node, "10.0.0.1", 1, 1, "boot") for node in (N1, N2, N3))


def test_each_decision_has_its_own_time_and_the_newest_comes_first() -> None:
    stop, resume = Commanded(10.0, "stop-actions", "", "ann"), Commanded(30.0, "resume-actions", "", "ann")
    status = told(*JOINED, FindingReported(5.0, N1, LOST), stop, FindingReported(20.0, N2, LOST), resume)
    times = [decision.at for decision in status.decisions]
    assert times == sorted(times, reverse=True)
    evicted = {each.what.split(":")[0]: each.at for each in status.decisions if each.what.startswith("evict")}
    assert evicted == {"evict n1": 5.0, "evict n2": 30.0}
    assert [decision.at for decision in status.decisions if decision.refused] == [20.0]


def test_an_incident_tells_when_each_thing_was_done_and_what_is_left() -> None:
    status = told(*JOINED, FindingReported(5.0, N1, LOST))
    (incident,) = status.incidents
    assert any(line.startswith("+0.0 s: evict n1") for line in incident.done)
    assert any("n1 is out and awaits repair" in line for line in incident.left)
    assert incident.left == status.left


def test_what_is_left_is_told_without_its_incident() -> None:
    drain = Commanded(6.0, "drain", "n2", "ann")
    status = told(*JOINED, FindingReported(5.0, N1, LOST), drain)
    assert any("drained by hand: n2" in line for line in status.left)
