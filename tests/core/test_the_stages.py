"""Each stage does its own work: settling and diagnosing change nothing, and no order hangs on a hash."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from episodes import Checked
from killed import drawn
from simulated import Simulated

from sentinel import runbooks
from sentinel.core import diagnose, settle
from sentinel.core.fold import UndecidedError, fold
from sentinel.core.settle import missing
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, Node
from sentinel.core.touched import Touched
from sentinel.logbook.recording import read
from sentinel.model.codec import encode, from_plain
from sentinel.model.decision import Decision
from sentinel.model.ids import JobId, NodeId
from sentinel.model.policy import Policy
from tests.depth import tries

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


EPISODES_ENOUGH = tries(8, 200)


def unchanged(state: State, ask: Callable[[], Any]) -> Any:
    """Ask, and see that the state is what it was."""
    before, found = state.to_bytes(), ask()
    assert state.to_bytes() == before, "who decides changes nothing"
    return found


def watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the state around each question of each fold, while there is something to decide."""
    parts, pages, decide = settle.parts, settle.pages, diagnose.decide

    def watched(ask: Callable[..., Iterable[settle.Part]], state: State, *more: Any) -> Iterator[settle.Part]:
        for part in ask(state, *more):
            yield partial(unchanged, state, lambda part=part: list(part()))

    def told(state: State, *more: Any) -> Iterator[Decision]:
        given = pages(state, *more)
        while (page := unchanged(state, lambda: next(given, None))) is not None:
            yield page

    monkeypatch.setattr(settle, "parts", partial(watched, parts))
    monkeypatch.setattr(settle, "pages", told)
    monkeypatch.setattr(diagnose, "decide", lambda *of: unchanged(of[1], lambda: decide(*of)))


@pytest.mark.soak
def test_deciding_changes_nothing_while_there_is_something_to_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    watch(monkeypatch)
    decided = 0
    for seed in range(EPISODES_ENOUGH):
        cluster, episode = drawn(seed)
        lived = Checked(*cluster)
        for kind, number in episode:
            lived.do(kind, number)
        lived.run(10)
        decided += len(lived.decided)
    assert decided > EPISODES_ENOUGH, "there was something to decide"


def test_a_part_that_changes_something_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def meddles(state: State, rules: Rules, touched: Any) -> Iterator[settle.Part]:
        def part() -> Iterator[Decision]:
            state.set_deadline("gather/I-0001", 1.0)
            return iter(())

        yield part

    monkeypatch.setattr(settle, "parts", meddles)
    watch(monkeypatch)
    with pytest.raises(UndecidedError, match="changes nothing"):
        Simulated()


def test_a_node_and_a_job_of_one_name_are_two_things_to_settle() -> None:
    state = State()
    state.add(Node(NodeId("moe")))
    state.add(Job(JobId("moe"), 1, 1, 0))
    touched = Touched.everything(state, Rules(Policy(), BOOKS))
    touched.settled(node=NodeId("moe"))
    assert (list(touched.nodes), list(touched.jobs)) == ([], ["moe"])
