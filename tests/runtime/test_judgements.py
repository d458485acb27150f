"""People say of a diagnosis that it was wrong: it is kept, shown and counted, and changes nothing."""

import asyncio
import time
from pathlib import Path

import pytest
from small_cluster import Cluster

from sentinel.core.learn import judgements
from sentinel.model.fact import Commanded
from sentinel.model.ids import IncidentId
from sentinel.model.judgement import Judgement
from sentinel.model.policy import Policy
from sentinel.runtime.already import already
from sentinel.runtime.objections import objection
from sentinel.runtime.scribe import Scribe

NAME = IncidentId("I-0001")


class Desk:
    """A cluster whose node was evicted for a GPU, and who writes that down."""

    def __init__(self, folder: Path, cluster: Cluster | None = None) -> None:
        self.folder, self.cluster = folder, cluster or Cluster(folder, Policy())
        self.scribe = Scribe(folder)
        self.cluster.ledger.changed = lambda fact, actions: self.scribe.changed(
            self.cluster.ledger, fact, actions
        )

    def breaks(self) -> None:
        self.cluster.trains()
        self.node = self.cluster.home
        self.cluster.breaks(self.node)
        self.writes()

    def writes(self) -> None:
        asyncio.run(self.scribe.catch_up(self.cluster.ledger))

    def forgets(self) -> None:
        self.cluster.ledger.state.incidents.drop(NAME)

    def says(self, what: str, who: str = "ann", reason: str = "the riser") -> str:
        """Why it is refused, or empty; as the controller does it."""
        fact = Commanded(self.cluster.at + 0.01, what, NAME, who, reason)
        ledger = self.cluster.ledger
        refused = asyncio.run(objection(ledger, self.scribe.logbook, fact)) or already(ledger.state, fact)
        if not refused:
            self.cluster.tell(lambda at: fact)
            self.writes()
        return refused

    def said(self) -> list[str]:
        return [each.what for each in self.cluster.ledger.state.judgements.get(NAME, ())]

    def entry(self) -> str:
        return self.scribe.logbook.entry(NAME) or ""

    def counted(self) -> dict[str, float]:
        samples = [each for family in self.scribe.judged.collect() for each in family.samples]
        return {
            f"{each.name.split('_')[1]} {each.labels['judgement']}": each.value
            for each in samples
            if each.value
        }


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.breaks()
    return made


@pytest.mark.parametrize("forgotten", [False, True])
def test_it_is_at_the_end_of_the_entry_and_counted_and_decides_nothing(desk: Desk, forgotten: bool) -> None:
    if forgotten:
        desk.forgets()
    performed, before = list(desk.cluster.performed), desk.entry()
    assert desk.says("not-node") == ""
    assert desk.cluster.performed == performed
    end = desk.entry().removeprefix(before.rstrip())
    assert end.startswith("\n\n## What people say of it\n\n- ")
    assert end.endswith("ann: not this node: the riser\n")
    assert desk.counted() == {"incidents not-node": 1.0, "evictions not-node": 1.0}
    [row] = desk.scribe.logbook.search("riser")
    assert row.judged == ("ann: not this node: the riser",)


def test_what_was_said_later_stands(desk: Desk) -> None:
    for what, stands in (
        ("not-node", ["not-node"]),
        ("not-cause", ["not-node", "not-cause"]),
        ("right", ["right"]),
        ("not-cause", ["not-cause"]),
    ):
        assert desk.says(what) == ""
        assert desk.said() == stands
    assert desk.entry().count("## What people say of it") == 1
    assert desk.entry().count("not this cause") == 1


def test_a_second_one_hears_of_the_first(desk: Desk) -> None:
    desk.says("not-cause")
    assert "ann: not this cause: the riser" in desk.says("not-cause", who="ben")
    assert desk.counted() == {"incidents not-cause": 1.0, "evictions not-cause": 1.0}


def test_a_judgement_outlives_controller_and_entry(desk: Desk) -> None:
    desk.forgets()
    path = desk.scribe.logbook.folder / f"{NAME}.md"
    before = path.read_text(), (index := desk.scribe.logbook.folder / "index.jsonl").read_text()
    desk.says("not-node")
    path.write_text(before[0])  # as if it had been killed before it could write
    index.write_text(before[1])
    again = Desk(desk.folder, desk.cluster.restarted(desk.folder, Policy()))
    assert again.said() == ["not-node"]

    async def starts() -> None:
        task = asyncio.create_task(again.scribe.run(again.cluster.ledger, time.time))
        while "the riser" not in again.entry():
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(asyncio.wait_for(starts(), 30))
    assert again.counted() == {}, "it counts what this controller has heard"


def test_what_can_not_be_judged_is_said(desk: Desk) -> None:
    fact = Commanded(desk.cluster.at, "not-node", "I-0099", "ann", "x")
    refused = asyncio.run(objection(desk.cluster.ledger, desk.scribe.logbook, fact))
    assert refused == "no incident 'I-0099' is known"


def test_only_the_newest_are_kept(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgements, "MOST", 2)
    for number in (7, 8, 7, 9):
        desk.cluster.tell(lambda at, n=number: Commanded(at, "right", f"I-000{n}", "ann"))  # type: ignore[misc]
    assert sorted(desk.cluster.ledger.state.judgements) == ["I-0007", "I-0009"]


def test_who_and_why_are_in_a_line() -> None:
    assert str(Judgement(1.0, "right", "ann")) == "ann: right"
    assert str(Judgement(1.0, "not-cause", "ann", "a switch")) == "ann: not this cause: a switch"
