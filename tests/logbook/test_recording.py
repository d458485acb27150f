"""Recordings: what leaves the journal as a file replays to the same decisions."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sentinel.adapters.journal import Journal
from sentinel.core.replay import replay
from sentinel.logbook.recording import RecordingError, export, read, write
from sentinel.model.action import Action, Probe
from sentinel.model.codec import encode
from sentinel.model.fact import Fact, NodeHeard
from sentinel.model.ids import ActionId, IncidentId, NodeId
from sentinel.model.incident import Incident


@dataclass
class Heard:
    nodes: list[NodeId] = field(default_factory=list)


def probe(node: str) -> Probe:
    return Probe(ActionId(f"INC-1/probe/{node}/1"), IncidentId("INC-1"), NodeId(node))


def probe_every_third(state: Heard, fact: Fact) -> tuple[Action, ...]:
    assert isinstance(fact, NodeHeard)
    state.nodes.append(fact.node)
    return (probe(fact.node),) if len(state.nodes) % 3 == 0 else ()


def again(state: Heard, facts: Sequence[Fact]) -> list[tuple[Fact, tuple[Action, ...]]]:
    return [(fact, probe_every_third(state, fact)) for fact in facts]


def recorded(path: Path) -> str:
    journal, state = Journal(path), Heard()
    for at in range(20):
        fact = NodeHeard(float(at), NodeId(f"node-{at}"))
        seq = journal.append(fact, probe_every_third(state, fact), "p1", "r1")
        if seq == 10:
            journal.save_snapshot(seq, encode(state.nodes))
    opening = NodeHeard(12.0, NodeId("node-12"))
    incident = Incident(IncidentId("INC-1"), 12.0, evidence=[opening], times={"resolved": 17.0})
    text = export(journal, incident, {"silent_s": 2.5})
    journal.close()
    return text


def test_a_recording_is_read_back_as_written(tmp_path: Path) -> None:
    text = recorded(tmp_path / "j")
    recording = read(text)
    assert (recording.incident, recording.state_seq, recording.policy) == ("INC-1", 10, {"silent_s": 2.5})
    assert [line.seq for line in recording.lines] == list(range(11, 19))
    assert {line.policy_hash for line in recording.lines} == {"p1"}
    assert write(recording) == text


def test_replaying_with_the_same_code_decides_the_same(tmp_path: Path) -> None:
    recording = read(recorded(tmp_path / "j"))
    decisions = list(replay(recording.lines, Heard(list(recording.state)), again))
    assert [decision.line.seq for decision in decisions if decision.decided] == [12, 15, 18]
    assert not any(decision.differs for decision in decisions)


def test_replaying_with_other_code_names_the_differences(tmp_path: Path) -> None:
    recording = read(recorded(tmp_path / "j"))
    decisions = replay(recording.lines, Heard(), again)
    differing = [each for each in decisions if each.differs]
    assert [(each.line.seq, len(each.missing), len(each.added)) for each in differing] == [
        (12, 1, 0),
        (13, 0, 1),
        (15, 1, 0),
        (16, 0, 1),
        (18, 1, 0),
    ]


def test_another_order_is_a_difference(tmp_path: Path) -> None:
    both = (probe("a"), probe("b"))
    journal = Journal(tmp_path / "j")
    journal.append(NodeHeard(1.0, NodeId("a")), both, "p", "r")
    (decision,) = replay(journal.lines(), None, lambda state, facts: [(facts[0], both[::-1])])
    assert decision.differs
    assert (decision.missing, decision.added) == ((), ())
    journal.close()


HEADER = '{"recording": "INC-1", "v": 1, "policy": null, "state_seq": 0, "state": null}\n'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", "^bad.jsonl: not a recording$", id="empty"),
        pytest.param("{}\n", "^bad.jsonl: not a recording$", id="other JSON"),
        pytest.param("hello\n", "^bad.jsonl, line 1: ", id="no JSON"),
        pytest.param(
            HEADER.replace('"v": 1', '"v": 7'),
            r"written by a newer Sentinel \(version 7, this one reads up to 3\)",
            id="newer",
        ),
        pytest.param('{"recording": "INC-1", "v": 1}\n', "line 1: bad header", id="half a header"),
        pytest.param(HEADER + '{"seq": 1}\n', "^bad.jsonl, line 2: no 'fact'", id="half a line"),
        pytest.param(HEADER + '{"seq": 1, "fact": {"kind"\n', "^bad.jsonl, line 2: ", id="torn"),
        pytest.param(HEADER + "[" * 100_000, "^bad.jsonl, line 2: ", id="nested without end"),
        pytest.param(
            HEADER + '{"seq": 1, "fact": {"kind": "Rain"}, "actions": []}\n',
            "Invalid value 'Rain'",
            id="unknown",
        ),
    ],
)
def test_a_bad_recording_is_a_one_line_error(text: str, message: str) -> None:
    with pytest.raises(RecordingError, match=message) as caught:
        read(text, "bad.jsonl")
    assert "\n" not in str(caught.value)
