"""Events with their agents' numbers, told a second time by other rules, are all heard."""

from sentinel import runbooks
from sentinel.core.fold import decide
from sentinel.core.state import Rules, State
from sentinel.model.action import Evict
from sentinel.model.fact import Fact, FindingReported, NodeJoined, Origin
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.journal import Line
from sentinel.model.policy import Policy
from sentinel.rehearse.history import SETTLED_S, Past, retell

RULES = Rules(Policy(), runbooks.load())
NODES = [NodeId(f"n{number}") for number in range(1, 10)]


def lost(node: NodeId, at: float, number: int) -> Fact:
    finding = Finding("gpu", "gpu-lost", "gpu-0", Health.CRITICAL, "gone", event=True)
    return FindingReported(at, node, finding, Origin(node, "boot", number))


def recorded(facts: list[Fact]) -> list[Line]:
    state = State()
    return [Line(seq, fact, decide(state, fact, RULES), "", "") for seq, fact in enumerate(facts, 1)]


def evicted(past: Past) -> list[str]:
    return [each.node for some in past.actions.values() for each in some if isinstance(each, Evict)]


def test_what_came_before_and_after_the_other_telling_went_on_from_what_was_is_heard() -> None:
    joined: list[Fact] = [NodeJoined(1.0, node, "10.0.0.1", 1, 8, "boot") for node in NODES]
    faults = [(NODES[0], 10.0, 1), (NODES[1], 11.0, 7)]
    later = [(NODES[2], 20.0 + SETTLED_S, 2), (NODES[3], 90.0 + SETTLED_S, 1)]
    lines = recorded([*joined, *(lost(*fault) for fault in faults + later)])
    then, now = retell(lines, State, lambda _line: RULES, RULES)
    assert now.chapter > 0, "it went on from what was"
    assert len(evicted(then)) > 1
    assert evicted(now) == evicted(then)
    assert now.state.nodes[NODES[1]].heard == 7
