"""Each stage does its own work: settling and diagnosing change nothing, and no order hangs on a hash."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from sentinel import runbooks
from sentinel.core import diagnose
from sentinel.core.fold import fold
from sentinel.core.settle import missing
from sentinel.core.state import Rules, State
from sentinel.logbook.recording import read
from sentinel.model.codec import encode, from_plain
from sentinel.model.policy import Policy

RECORDINGS = sorted((Path(__file__).parents[1] / "incidents").glob("*.jsonl"))
BOOKS = runbooks.load()
PRINT_DIGEST = (
    f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import {Path(__file__).stem} as t"
)


def digest() -> str:
    """Sum up what every recording gives, and every state after it."""
    total = sha256()
    for path in RECORDINGS:
        recording = read(path.read_text())
        rules = Rules(from_plain(Policy, recording.policy), BOOKS)
        state = State.from_plain(recording.state) if recording.state else State()
        for line in recording.lines:
            total.update(encode(fold(state, line.fact, rules)))
        total.update(state.to_bytes())
    return total.hexdigest()


def test_a_run_gives_the_same_bytes_whatever_the_seed_of_hashes() -> None:
    said = set()
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        argv = [sys.executable, "-c", f"{PRINT_DIGEST}; print(t.digest())"]
        said.add(subprocess.run(argv, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout)
    assert len(said) == 1


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in RECORDINGS])
def test_settling_and_diagnosing_change_nothing(path: Path) -> None:
    recording = read(path.read_text())
    rules = Rules(from_plain(Policy, recording.policy), BOOKS)
    state = State.from_plain(recording.state) if recording.state else State()
    for line in recording.lines:
        fold(state, line.fact, rules)
        before = state.to_bytes()
        assert missing(state, rules) == []
        for incident in state.open_incidents():
            diagnose.decide(incident, state, rules)
        assert state.to_bytes() == before
