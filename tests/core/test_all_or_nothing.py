"""A fold that a defect ends leaves no trace, wherever it ended, and what was committed never changes."""

import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from depth import tries
from simulated import BOOKS, Simulated, ecc

import sentinel.core
from sentinel.core.fold import UndecidedError, fold, fold_together, retell
from sentinel.core.state import Rules, State
from sentinel.core.state.tables import Fold, Table
from sentinel.logbook.recording import read
from sentinel.model.codec import from_plain
from sentinel.model.fact import Fact, RankExited
from sentinel.model.policy import Policy

RECORDINGS = sorted((Path(__file__).parents[1] / "incidents").glob("*.jsonl"))
CORE = str(Path(sentinel.core.__file__).parent)
COMMIT = {"tables.py", "cluster.py", "workers.py"}
"""Where a fold's changes are put and made the state's own: what may fail has been done by then."""
EVERY = tries(3, 1)
"""Of so many facts one meets a defect."""
NEWS = 6
"""Calls that look whether a fact is news at all."""


class PlantedError(Exception):
    """A defect of ours."""


def calls_of_core(run: object, stop_at: int = -1) -> int:
    """Run something; count the core's calls, and plant a defect at one of them."""
    numbers = count()

    def seen(frame: object, event: str, _arg: object) -> None:
        file = frame.f_code.co_filename  # type: ignore[attr-defined]
        decides = event == "call" and file.startswith(CORE) and Path(file).name not in COMMIT
        if decides and next(numbers) == stop_at:
            raise PlantedError

    sys.setprofile(seen)
    try:
        run()  # type: ignore[operator]
    finally:
        sys.setprofile(None)
    return next(numbers)


def folds(name: Path) -> Iterator[tuple[bytes, Fact, Rules]]:
    """Each state and the fact that it met next."""
    recording = read(name.read_text())
    rules = Rules(from_plain(Policy, recording.policy), BOOKS)
    state = State.from_plain(recording.state) if recording.state else State()
    for line in recording.lines:
        yield state.to_bytes(), line.fact, rules
        fold(state, line.fact, rules)


def broken_at(
    before: bytes, fact: Fact, rules: Rules, at: int, take_in: Callable[..., object]
) -> tuple[State, bool]:
    """Fold with a defect at a call, or the next one: a generator that is being closed takes no exception.

    Gives the state, and whether the fact was learned all the same.
    """
    while True:
        state = State.from_bytes(before)
        try:
            calls_of_core(lambda state=state: take_in(state, fact, rules), at)
        except (PlantedError, UndecidedError) as error:
            return state, isinstance(error, UndecidedError)
        at -= 1


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in RECORDINGS])
def test_a_defect_anywhere_in_a_fold_leaves_what_was_or_what_is_known(path: Path) -> None:
    for number, (before, fact, rules) in enumerate(folds(path)):
        whole, known = State.from_bytes(before), State.from_bytes(before)
        calls = calls_of_core(lambda state=whole, fact=fact, rules=rules: fold(state, fact, rules))
        if calls <= NEWS or number % EVERY:
            continue  # it was heard before
        retell(known, fact, (), rules)
        place = NEWS + 7 * number % (calls - NEWS)
        state, learned = broken_at(before, fact, rules, place, fold)
        assert (state.to_bytes(), learned) == (known.to_bytes(), True)
        state, learned = broken_at(before, fact, rules, place, alone)
        assert (state.to_bytes(), learned) == (before, False)
        fold(state, fact, rules)
        assert state.to_bytes() == whole.to_bytes(), "and it goes on as if nothing had been"


def alone(state: State, fact: Fact, rules: Rules) -> object:
    return fold_together(state, [fact], rules)


def test_what_was_taken_down_before_a_fold_is_not_changed_by_it() -> None:
    cluster = Simulated(world=3)
    kept, node, job, incidents = (
        cluster.state.stored(),
        cluster.at("n1"),
        cluster.job,
        cluster.state.incidents,
    )
    as_it_was, rows = repr(kept), (repr(node), repr(job), len(incidents))
    worker = cluster.worker(0)
    cluster.finding(cluster.node(0), ecc())
    cluster.tell(
        RankExited(cluster.now, job.id, 0, worker.id, worker.node, 0, worker.pid, job.generation, "signal 9")
    )
    cluster.run(20)
    assert repr(kept) == as_it_was
    assert (repr(node), repr(job)) == rows[:2]
    assert len(incidents) > rows[2]


def test_a_table_under_a_fold_reads_as_if_it_were_committed() -> None:
    fold = Fold()
    table = Table(fold, {"a": 1, "b": 2, "c": 3})
    fold.begin()
    table.put("b", 20)
    table.drop("c")
    table.put("d", 4)
    table.drop("nobody")
    expected = {"a": 1, "b": 20, "d": 4}
    assert (dict(table), list(table), len(table), list(table.values())) == (
        expected,
        ["a", "b", "d"],
        3,
        [1, 20, 4],
    )
    assert ("c" in table, table.get("c"), table.get("c", 7), "d" in table) == (False, None, 7, True)
    with pytest.raises(KeyError):
        table["c"]
    kept = table.copy()
    table.put("e", 5)
    assert kept == expected
    table.drop("e")
    fold.commit()
    assert (dict(table), table.copy()) == (expected, expected)


def test_an_abandoned_fold_leaves_a_table_alone() -> None:
    fold = Fold()
    table, other = Table(fold, {"a": 1, "b": 2, "c": 3}), Table(fold, {1: "x"})
    fold.begin()
    table.drop("a")
    table.put("d", 4)
    table.put("b", 20)
    table.put("a", 10)
    table.drop("b")
    table.put_all({"c": 30, "e": 5})
    table.drop("a")
    table.drop("e")
    other.put(2, "y")
    fold.abandon()
    assert list(table.items()) == [("a", 1), ("b", 2), ("c", 3)], "in its order, too"
    assert dict(other) == {1: "x"}
    table.drop("b")
    table.put("d", 3)
    assert list(table) == ["a", "c", "d"], "between folds a change is the table's own at once"
    fold.begin()
    table.drop("c")
    fold.abandon()
    assert list(table) == ["a", "c", "d"]
    assert {*table.places} == {*table}, "nothing is kept of what is gone"


@pytest.mark.parametrize("change", ["t['a'] = 2", "del t['a']", "t.pop('a')", "t.update(a=2)", "t |= {}"])
def test_a_table_is_changed_in_no_way_that_a_fold_can_not_take_back(change: str) -> None:
    table = Table(Fold(), {"a": 1})
    with pytest.raises(TypeError, match="put"):
        exec(change, {"t": table})
    assert dict(table) == {"a": 1}
