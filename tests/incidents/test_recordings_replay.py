"""Incidents of the demo, replayed through today's code: what was decided then is decided now."""

from pathlib import Path

import pytest

from sentinel import runbooks
from sentinel.core.fold import fold_together
from sentinel.core.replay import replay
from sentinel.core.state import Rules, State
from sentinel.logbook.recording import read
from sentinel.model.codec import from_plain
from sentinel.model.policy import Policy

RECORDINGS = sorted(Path(__file__).parent.glob("*.jsonl"))


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in RECORDINGS])
def test_a_recorded_incident_is_decided_the_same_way(path: Path) -> None:
    recording = read(path.read_text(), path.name)
    policy = from_plain(Policy, recording.policy)
    rules = Rules(policy, runbooks.load())
    state = State.from_plain(recording.state) if recording.state else State()
    decisions = replay(recording.lines, state, lambda known, facts: fold_together(known, facts, rules))
    assert [(each.line.seq, each.missing, each.added) for each in decisions if each.differs] == []
    diagnosis = state.incidents[recording.incident].diagnosis
    assert diagnosis is not None
    assert diagnosis.cause == path.stem


def test_there_are_recordings() -> None:
    assert RECORDINGS
