"""A journal's past, decided again by another policy: what would be different, event by event."""

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sentinel import runbooks
from sentinel.adapters.journal import Journal
from sentinel.cli import app
from sentinel.core.state import Rules
from sentinel.model.fact import NodeHeard
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy
from sentinel.rehearse.controller import Decision
from sentinel.rehearse.play import Player
from sentinel.rehearse.reading import of_plain, read
from sentinel.rehearse.rehearsal import rehearsal_of
from sentinel.rehearse.retell import Comparison, as_text, from_journal
from sentinel.rehearse.scenario import Scenario
from sentinel.runtime.rules import contents, policy_hash

BOOKS = runbooks.load()
VERDICTS = sorted((Path(__file__).parents[1] / "verdicts" / "recorded").glob("*.yaml"))


def past(*steps: dict[str, Any]) -> Scenario:
    return of_plain({"steps": list(steps)}, "past")


CRASH, LOST = {"crash": [1, "signal 9"]}, {"gpu": ["n1", 0, {"present": False}]}
PAST = past({"crash": [0, "signal 9"]}, {"run": 200}, LOST, {"run": 100}, CRASH, {"run": 60})


def lived(path: Path, scenario: Scenario, snapshot_at: int = 0) -> Path:
    """Write the journal that a controller would have written in the last hour."""
    rules, books = Rules(scenario.policy_on(Policy()), BOOKS), runbooks.hash_of(BOOKS)
    by = (policy_hash(rules), books, contents(rules, books))
    with closing(Journal(path)) as journal, rehearsal_of(scenario, rules) as rehearsal:

        def keep(decision: Decision) -> None:
            (seq,) = journal.append_many([(decision.fact, decision.decided)], *by)
            if seq == snapshot_at:
                journal.save_snapshot(seq, rehearsal.controller.state.to_bytes())

        rehearsal.world.now = rehearsal.stirred = time.time() - 3600
        rehearsal.watched = keep
        rehearsal.warm_up()
        Player(rehearsal).play()
    return path


def again(path: Path, policy: Policy | None = None, since: float = 0.0) -> Comparison:
    return from_journal(path, since, Rules(policy or Policy(), BOOKS))


def differing(compared: Comparison) -> list[tuple[str, str]]:
    return [(str(pair.then), str(pair.now)) for pair in compared.pairs if pair.differs]


@pytest.mark.parametrize("snapshot_at", [0, 40])
def test_by_the_same_policy_nothing_is_different(tmp_path: Path, snapshot_at: int) -> None:
    compared = again(lived(tmp_path / "j", PAST, snapshot_at=snapshot_at), since=time.time() - 3595)
    assert [pair.then.cause for pair in compared.pairs if pair.then] == [
        "rank-crash",
        "gpu-lost",
        "rank-crash",
    ]
    assert (differing(compared), compared.defects) == ([], [])


@pytest.mark.parametrize("path", VERDICTS, ids=lambda path: path.stem)
def test_no_fault_of_the_demo_is_told_otherwise(tmp_path: Path, path: Path) -> None:
    (scenario,) = read(path)
    compared = again(lived(tmp_path / "j", scenario), scenario.policy_on(Policy()))
    assert (differing(compared), compared.defects) == ([], [])


def test_an_eviction_that_the_candidate_refuses_is_told_and_spoils_nothing_after_it(tmp_path: Path) -> None:
    compared = again(lived(tmp_path / "j", PAST), Policy(evict_confidence=0.99))
    where = "gpu-lost at n1 gpu-0 (rank 0)"
    refused = "not done: evict n1 (n1 stays: confidence 0.95 is below 0.99)"
    assert differing(compared) == [
        (f"{where}, evicted n1, resumed 1 time, paged", f"{where}, resumed 1 time, {refused}, paged")
    ]


def test_each_event_is_judged_by_itself_when_nothing_would_be_done(tmp_path: Path) -> None:
    compared = again(lived(tmp_path / "j", PAST), Policy(observe_only=True))
    assert [pair.now.cause for pair in compared.pairs if pair.now] == ["rank-crash", "gpu-lost", "rank-crash"]
    assert all(pair.differs and "observe-only" in str(pair.now) for pair in compared.pairs)


def test_an_eviction_that_only_the_candidate_makes_is_told(tmp_path: Path) -> None:
    twice = ({"crash": [1, "signal 9"]}, {"run": 60}, {"crash": [1, "signal 9"]}, {"run": 60})
    compared = again(lived(tmp_path / "j", past(*twice)), Policy(crashes_per_hour=2))
    ((then, now),) = differing(compared)
    assert then == "rank-crash at n2 gpu-0 (rank 1), resumed 1 time, paged"
    assert now == "crash-loop at n2, evicted n2, resumed 1 time, paged"


def test_a_command_tells_it(tmp_path: Path) -> None:
    journal, candidate = lived(tmp_path / "j", PAST), tmp_path / "candidate.toml"
    candidate.write_text("[policy]\nevict_confidence = 0.99\n")
    asked = ["rehearse", "--journal", str(journal), "--since", "2h"]
    same = CliRunner().invoke(app, asked)
    assert (same.exit_code, same.output.splitlines()[-1]) == (
        0,
        "0 of 3 incidents would be decided differently",
    )
    other = CliRunner().invoke(app, [*asked, "--policy", str(candidate), "--json"])
    rows = [json.loads(line) for line in other.output.splitlines()]
    assert (other.exit_code, [row["differs"] for row in rows]) == (1, [False, True, False])
    assert (rows[1]["then"]["evicted"], rows[1]["now"]["evicted"]) == (["n1"], [])


def test_it_reads_beside_the_writer(tmp_path: Path) -> None:
    path = lived(tmp_path / "j", PAST)
    with closing(Journal(path)) as writer:
        assert len(again(path).pairs) == 3
        writer.append_many([(NodeHeard(time.time(), NodeId("n1")), ())], "p", "r")
        assert len(again(path).pairs) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        pytest.param([], 2, "takes scenario files, or a --journal", id="nothing"),
        pytest.param(["x.yaml", "--journal", "j"], 2, "takes scenario files, or a --journal", id="both"),
        pytest.param(["--journal", "none.db"], 1, "none.db: no such journal", id="no journal"),
        pytest.param(["--journal", "text"], 1, "not a journal", id="not a journal"),
        pytest.param(["--journal", "none.db", "--since", "soon"], 2, "--since 'soon'", id="no time"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, arguments: list[str], code: int, said: str) -> None:
    (tmp_path / "text").write_text("hello, this is no journal at all")
    named = [str(tmp_path / each) if each in ("none.db", "text", "j") else each for each in arguments]
    result = CliRunner().invoke(app, ["rehearse", *named])
    assert result.exit_code == code
    assert said in result.output
    assert len(result.output.splitlines()) == 1


def test_only_what_was_since_is_told(tmp_path: Path) -> None:
    path = lived(tmp_path / "j", PAST)
    opened = [pair.at for pair in again(path).pairs]
    assert [pair.at for pair in again(path, since=opened[1]).pairs] == opened[1:]


def test_how_far_back_the_journal_goes_is_told(tmp_path: Path) -> None:
    path = lived(tmp_path / "j", PAST, snapshot_at=60)
    with closing(Journal(path)) as journal:
        journal.compact([], max_lines=0)
    assert "the journal goes back to" in next(as_text(again(path), since=0.0))
