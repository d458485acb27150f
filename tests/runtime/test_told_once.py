"""What agents tell counts once and in order, whatever becomes of reports, acknowledgements and processes."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reporting import MANY, NODE, RULES, Reporting, name_of, seen

from sentinel.core.fold import decide
from sentinel.core.state import State
from sentinel.model.fact import FindingReported
from sentinel.model.report import Ack, ProbedSeen

STEPS = {
    "tells": 8,
    "sends": 6,
    "arrives": 6,
    "is_acknowledged": 4,
    "arrives_twice": 2,
    "is_lost": 1,
    "ack_is_lost": 2,
    "controller_starts": 1,
    "agent_starts": 1,
    "snapshot": 1,
    "journal_fails": 1,
}
"""How often each is drawn beside the others."""
EPISODES = st.lists(
    st.tuples(
        st.sampled_from([name for name, often in STEPS.items() for _ in range(often)]), st.integers(0, 99)
    ),
    max_size=40,
)


@contextmanager
def episode() -> Iterator[Reporting]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("sentinel.runtime.ledger.RETRY_S", 0.0)
        reporting = Reporting(Path(folder))
        try:
            yield reporting
        finally:
            reporting.close()


def lone(names: list[str]) -> list[str]:
    """Leave out bursts: the newest telling of one takes the place of those that nobody has heard."""
    return [name for name in names if not name.startswith("b")]


def counts_of(burst: str, facts: list[Any]) -> list[int]:
    findings = (fact.finding for fact in facts if isinstance(fact, FindingReported))
    return [found.count for found in findings if found.burst == burst]


def grows(counts: list[int]) -> bool:
    return counts == sorted(set(counts))


def is_part_of(part: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(each in rest for each in part)


@example([("tells", 6), ("sends", 0), ("arrives", 0), ("controller_starts", 0)])
@example([("tells", 7), ("sends", 0), ("agent_starts", 0), ("arrives", 0), ("is_acknowledged", 0)])
@example(
    [
        ("tells", 0),
        ("tells", 7),
        ("sends", 0),
        ("arrives_twice", 0),
        ("snapshot", 0),
        ("controller_starts", 0),
    ]
)
@example([("tells", 7), ("sends", 0), ("agent_starts", 0), ("arrives_twice", 0), ("arrives", 0)])
@example(
    [("tells", 0), ("sends", 0), ("arrives", 0), ("is_acknowledged", 0), ("agent_starts", 0), ("tells", 7)]
)
@example([("journal_fails", 0), ("tells", 6), ("sends", 0), ("arrives", 0), ("is_acknowledged", 0)])
@given(EPISODES)
def test_each_event_counts_once_and_in_order(steps: list[tuple[str, int]]) -> None:
    with episode() as reporting:
        for step, number in steps:
            getattr(reporting, step)(number)
        reporting.settle()
        assert {
            name for agent in reporting.agents.values() for name in lone(agent.reported)
        } <= reporting.heard()
        for boot, facts in reporting.by_agent().items():
            names = [name_of(fact) for fact in facts]
            assert len(set(names)) == len(names), "each once of one agent"
            assert is_part_of(lone(names), reporting.agents[boot].reported), (
                "in the order in which it told them"
            )
            assert all(map(grows, (counts_of(burst, facts) for burst in reporting.bursts)))
        for answers in reporting.answered:
            assert len(set(answers)) <= len(answers) <= len(set(answers)) * reporting.boots
        check_effects(reporting)


def check_effects(reporting: Reporting) -> None:
    state = reporting.ledger.state
    marks = state.nodes[NODE].events
    assert len(set(marks)) == len(marks), "what two agents tell counts once, by its content"
    counts = {burst: count for burst, count in reporting.bursts.items() if count > 1}
    assert state.nodes[NODE].counts == counts
    again = State()
    for line in reporting.journal.lines():
        decide(again, line.fact, RULES)
    assert again.to_bytes() == state.to_bytes(), "the journal holds all that had an effect, and nothing else"
    assert not state.frozen


def test_what_the_journal_holds_and_nobody_acknowledged_counts_once_for_the_next_controller() -> None:
    with episode() as reporting:
        reporting.agent.tell(seen("first"))
        reporting.sends()
        reporting.arrives_twice(0)
        reporting.controller_starts()
        reporting.arrives(0)
        reporting.agent.tell(ProbedSeen((), "second"))
        reporting.sends()
        reporting.arrives(0)
        assert [name_of(fact) for fact in reporting.facts()] == ["first", "second"]
        assert reporting.acks[-1] == Ack(2, reporting.agent.boot, reporting.journal.id)


def test_a_report_of_the_agent_before_is_not_heard_and_an_acknowledgement_of_its_events_means_no_others() -> (
    None
):
    with episode() as reporting:
        for number in range(3):
            reporting.agent.tell(ProbedSeen((), f"old {number}"))
        reporting.sends()
        reporting.arrives_twice(0)
        reporting.agent.owed.clear()
        reporting.agent_starts()
        reporting.arrives(0)
        assert len(reporting.acks) == 1, "the late report is nobody's"
        reporting.agent.tell(ProbedSeen((), "new"))
        reporting.is_acknowledged(0)
        assert len(reporting.agent.spool) == 1, "nobody has heard this one"


def test_of_a_report_that_was_cut_the_rest_is_heard() -> None:
    with episode() as reporting:
        reporting.tells(0)
        for _ in range(2):
            reporting.sends()
            reporting.arrives_twice(0)
            reporting.arrives(0)
            reporting.ack_is_lost(0)
            reporting.is_acknowledged(0)
        assert len(reporting.facts()) == MANY
        assert reporting.ledger.state.nodes[NODE].heard == MANY
