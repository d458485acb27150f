"""The tally of a controller: what lasts is told in time, and a restart neither loses nor doubles a second."""

import asyncio
import itertools
from pathlib import Path

import pytest
from msgspec.structs import replace
from small_cluster import JOB, Cluster

from sentinel import runbooks
from sentinel.core.state import Rules
from sentinel.logbook import tally_file
from sentinel.logbook.judgement import Judged
from sentinel.logbook.statistics import report
from sentinel.logbook.tally import Entry, Evicted, Proved, Spent, Watched
from sentinel.logbook.window import Window
from sentinel.model.fact import Commanded, FindingReported, NodeHeard, NodeProbed, NodeSilent
from sentinel.model.finding import Health
from sentinel.model.ids import DAY_S, NodeId
from sentinel.model.policy import Policy
from sentinel.runtime.accountant import AWAY_S, TELLS_EVERY_S
from sentinel.runtime.past import of_journal
from sentinel.runtime.scribe import Scribe

START = 1_772_600_000.0


def begun(folder: Path, at: float) -> tuple[Cluster, Scribe]:
    """A controller that begins at a moment."""
    cluster, scribe = Cluster(folder, Policy()), Scribe(folder)
    cluster.at = max(cluster.at, at)
    cluster.ledger.changed = lambda fact, actions: scribe.changed(cluster.ledger, fact, actions)
    return cluster, scribe


@pytest.fixture
def running(tmp_path: Path) -> tuple[Cluster, Scribe]:
    cluster, scribe = begun(tmp_path, START)
    cluster.trains()
    return cluster, scribe


def written(cluster: Cluster, scribe: Scribe) -> list[Entry]:
    asyncio.run(scribe.catch_up(cluster.ledger))
    return tally_file.read(scribe.logbook.folder)


def gpu_seconds(entries: list[Entry], until: float) -> float:
    return report([], entries, Window(START, until)).gpu_days * DAY_S


def is_heard(cluster: Cluster) -> None:
    """A fact that changes nothing."""
    cluster.tell(lambda at: NodeHeard(at, NodeId("n1")))


def test_what_lasts_is_told_while_it_lasts(running: tuple[Cluster, Scribe]) -> None:
    cluster, scribe = running
    now = cluster.at + 2 * TELLS_EVERY_S
    scribe.accountant.look(now)
    told = written(cluster, scribe)
    assert any(isinstance(each, Spent) and each.on == "training" for each in told)
    whole = [*told, *scribe.accountant.unwritten(now)]
    assert gpu_seconds(whole, now) == pytest.approx(2 * (now - START), rel=0.01)
    scribe.accountant.look(now + 1.0)
    assert written(cluster, scribe) == told


def test_a_silent_node_is_not_watched(running: tuple[Cluster, Scribe]) -> None:
    cluster, scribe = running
    before = cluster.at
    cluster.tell(lambda at: NodeSilent(at, NodeId("n2"), 3.0, 0, 2))
    cluster.at += 1000.0
    cluster.tell(lambda at: NodeHeard(at, NodeId("n2")))
    spans = [each for each in written(cluster, scribe) if isinstance(each, Watched)]
    assert spans[-1].gpus == 1
    assert (spans[-1].begin, spans[-1].end) == pytest.approx((before, cluster.at), abs=0.1)


@pytest.mark.parametrize("how", ["a clean stop", "killed"])
@pytest.mark.parametrize("away", [60.0, 2 * AWAY_S])
def test_a_restart_neither_loses_nor_doubles_a_second(
    running: tuple[Cluster, Scribe], tmp_path: Path, how: str, away: float
) -> None:
    cluster, scribe = running
    ended = cluster.at + TELLS_EVERY_S + 100.0
    scribe.accountant.look(ended)
    written(cluster, scribe)
    if how == "a clean stop":
        scribe.accountant.close(ended)
    told_until = tally_file.end_of(scribe.logbook.folder)
    cluster.journal.close()
    again, its_scribe = begun(tmp_path, ended + away)
    is_heard(again)
    now = again.at + 500.0
    whole = [*written(again, its_scribe), *its_scribe.accountant.unwritten(now)]
    watched = sorted((each.begin, each.end) for each in whole if isinstance(each, Watched))
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(watched))
    lost = 0.0 if away < AWAY_S else again.at - told_until
    assert gpu_seconds(whole, now) == pytest.approx(2 * (now - START - lost), rel=0.01)
    again.journal.close()


def test_the_journal_tells_the_same_as_was_counted_live(running: tuple[Cluster, Scribe]) -> None:
    cluster, scribe = running
    cluster.breaks(cluster.home)
    cluster.pass_time()
    live = [*written(cluster, scribe), *scribe.accountant.unwritten(cluster.at)]
    told = of_journal(cluster.journal.path, Rules(Policy(), runbooks.load()))
    for kind in (Watched, Spent):
        seconds = [
            sum(each.end - each.begin for each in entries if isinstance(each, kind))
            for entries in (live, told.entries)
        ]
        assert seconds[0] == pytest.approx(seconds[1], abs=0.1)
    evicted = [[each for each in entries if isinstance(each, Evicted)] for entries in (live, told.entries)]
    assert evicted[0] == evicted[1]
    assert len(evicted[0]) == 1


def test_a_node_that_passes_every_test_counts_against_us(running: tuple[Cluster, Scribe]) -> None:
    cluster, scribe = running
    node = cluster.home
    cluster.breaks(node)
    cluster.pass_time()
    state = cluster.ledger.state
    broken = next(each for each in state.nodes[node].findings.values())
    assert state.nodes[node].cordon is not None
    cluster.tell(lambda at: FindingReported(at, node, replace(broken, health=Health.OK)))
    cluster.tell(lambda at: Commanded(at, "prove", node, "ann"))
    for _ in range(6):
        proof = state.nodes[node].proof
        if proof is None or not proof.is_under_way:
            break
        cluster.tell(lambda at, order=proof.order: NodeProbed(at, node, order, checks=("gpu",)))
    proved = [each for each in written(cluster, scribe) if isinstance(each, Proved)]
    assert [(each.node, each.result, each.repairs) for each in proved] == [(node, "passed", ())]
    rows = scribe.logbook.rows()
    found = report(rows, tally_file.read(scribe.logbook.folder), Window(START, cluster.at + 1.0))
    assert [(each.node, each.verdict.value) for each in found.evictions] == [(node, "wrong")]


def test_peoples_words_are_counted(running: tuple[Cluster, Scribe]) -> None:
    cluster, scribe = running
    cluster.tell(lambda at: Commanded(at, "not-node", "I-0001", "ann", "its cable"))
    (word,) = (each for each in written(cluster, scribe) if isinstance(each, Judged))
    assert (word.incident, word.what, word.who, word.reason) == ("I-0001", "not-node", "ann", "its cable")


def test_a_disk_that_takes_nothing_costs_no_entry(
    running: tuple[Cluster, Scribe],
) -> None:
    cluster, scribe = running
    folder = scribe.logbook.folder
    (folder / tally_file.NAME).unlink(missing_ok=True)
    (folder / tally_file.NAME).mkdir()
    asyncio.run(scribe.catch_up(cluster.ledger))
    (folder / tally_file.NAME).rmdir()
    told = written(cluster, scribe)
    assert any(isinstance(each, Spent) and each.job == JOB for each in told)
