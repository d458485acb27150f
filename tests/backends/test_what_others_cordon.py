"""What others write into a scheduler reaches the state, and what Sentinel does reaches the scheduler."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from file_backend import FileNodes

from sentinel import runbooks
from sentinel.backends.port import Backend, BackendError
from sentinel.core.fold import decide
from sentinel.core.state import Rules, State
from sentinel.model.action import Action, CordonNode, Evict, Readmit
from sentinel.model.fact import Commanded, DeadlinePassed, FindingReported, NodeJoined, NodeLeft, Outcome
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy
from sentinel.runtime.cordons import MOST_WORDS, cordons, outside
from sentinel.runtime.hands import Hands
from sentinel.runtime.workers import Workers

N1 = NodeId("n1")
SOMEBODYS = "address=10.0.0.1\nstate=drained\nwho=kevin\nreason=bad DIMM\n"
IDLE = "address=10.0.0.1\nstate=idle\n"
RULES = Rules(Policy(), runbooks.load())


class Sentinel:
    """A state, a folder of nodes, and hands between them."""

    def __init__(self, folder: Path) -> None:
        self.file, self.state, self.now = folder / N1, State(), 1000.0
        self.ordered: list[Action] = []
        self.nodes = FileNodes(folder, "sentinel/blue")
        for number in range(1, 5):
            (folder / f"n{number}").write_text(IDLE)
            joined = NodeJoined(self.now, NodeId(f"n{number}"), f"10.0.0.{number}", 1, 1, "boot")
            self.tell(joined)
        hands = cast(Hands, SimpleNamespace(nodes=self.nodes, backend=Backend(self.nodes)))
        self.workers = Workers(hands, cast(Any, None), self.state, lambda _: None, lambda: self.now)

    def tell(self, fact: Any) -> None:
        self.now += 1
        self.ordered += decide(self.state, fact, RULES)

    def looks(self) -> int:
        """Make one round; gives how much of it was new."""
        before = outside(self.state)
        facts = list(cordons(self.state, asyncio.run(self.nodes.known(1.0)), self.now, before))
        for fact in facts:
            self.tell(fact)
        return len(facts)

    def does(self) -> None:
        """Do what was ordered of cordons and evictions, and tell what became of it."""
        doing, self.ordered = self.ordered, []
        for action in doing:
            match action:
                case Evict():
                    done = asyncio.run(self.workers.evict(action))
                case CordonNode(node=node, reason=reason):
                    done = self.cordons(node, reason)
                case Readmit(node=node):
                    done = asyncio.run(self.nodes.uncordon(node))
                case _:
                    continue
            self.tell(Outcome(self.now, action.id, ok=not done.startswith("failed"), detail=done))

    def cordons(self, node: NodeId, reason: str) -> str:
        try:
            return asyncio.run(self.nodes.cordon(node, reason))
        except BackendError as error:
            return f"failed: {error}"

    def waits(self) -> None:
        """Let what is due at once come."""
        _, name = self.state.next_deadline() or (0.0, "")
        self.now = max(self.now, self.state.deadlines[name])
        self.tell(DeadlinePassed(self.now, name))

    def breaks(self) -> None:
        broken = Finding("gpu", "gpu-lost", "gpu-0", Health.CRITICAL, "GPU 0 does not answer")
        self.tell(FindingReported(self.now, N1, broken))

    def undrains(self) -> None:
        self.tell(Commanded(self.now, "undrain", N1, "ann"))

    @property
    def usable(self) -> bool:
        return self.state.nodes[N1].usable


@pytest.fixture
def sentinel(tmp_path: Path) -> Sentinel:
    return Sentinel(tmp_path)


def test_what_others_cordon_is_heard_once_and_their_change_of_mind_too(sentinel: Sentinel) -> None:
    assert sentinel.looks() == 0
    sentinel.file.write_text(SOMEBODYS)
    assert [sentinel.looks(), sentinel.looks()] == [1, 0]
    assert not sentinel.usable
    sentinel.file.write_text(SOMEBODYS.replace("DIMM", "fan"))
    assert [sentinel.looks(), sentinel.looks()] == [1, 0]
    assert sentinel.state.nodes[N1].cordon.reason == "kevin: bad fan"  # type: ignore[union-attr]
    sentinel.file.write_text(IDLE)
    assert [sentinel.looks(), sentinel.looks()] == [1, 0]
    assert sentinel.usable


def test_an_eviction_is_told_to_the_scheduler_and_is_not_taken_for_anybody_elses(sentinel: Sentinel) -> None:
    sentinel.breaks()
    assert sentinel.looks() == 0, "nothing was told to anybody yet"
    sentinel.does()
    assert "who=sentinel/blue\nreason=I-0001: gpu-lost" in sentinel.file.read_text()
    assert sentinel.looks() == 0
    sentinel.undrains()
    assert sentinel.looks() == 0, "it is just being taken back"
    sentinel.does()
    assert (sentinel.looks(), sentinel.usable, "idle" in sentinel.file.read_text()) == (0, True, True)


def test_what_others_cordon_is_never_taken_back_by_sentinel(sentinel: Sentinel) -> None:
    sentinel.breaks()
    sentinel.does()
    sentinel.file.write_text(SOMEBODYS)  # over ours
    assert sentinel.looks() == 1
    sentinel.undrains()
    sentinel.does()
    assert sentinel.file.read_text() == SOMEBODYS
    assert not sentinel.usable
    sentinel.file.write_text(IDLE)
    sentinel.looks()
    sentinel.does()
    assert (sentinel.usable, sentinel.file.read_text()) == (True, IDLE)


def test_a_node_that_others_have_cordoned_is_not_evicted_over_their_heads(sentinel: Sentinel) -> None:
    sentinel.file.write_text(SOMEBODYS)
    sentinel.looks()
    sentinel.breaks()
    sentinel.does()
    assert sentinel.file.read_text() == SOMEBODYS


def test_a_cordon_of_ours_that_no_journal_knows_counts_like_anybodys(sentinel: Sentinel) -> None:
    sentinel.file.write_text(SOMEBODYS.replace("kevin", "sentinel/blue"))
    assert [sentinel.looks(), sentinel.looks()] == [1, 0]
    assert not sentinel.usable


def test_another_sentinels_cordon_is_anothers(sentinel: Sentinel) -> None:
    sentinel.file.write_text(SOMEBODYS.replace("kevin", "sentinel/green"))
    sentinel.looks()
    asyncio.run(sentinel.nodes.uncordon(N1))
    assert (sentinel.usable, "sentinel/green" in sentinel.file.read_text()) == (False, True)


def test_of_nodes_that_are_not_listed_or_not_watched_nothing_is_said(sentinel: Sentinel) -> None:
    sentinel.file.write_text(SOMEBODYS)
    sentinel.looks()
    sentinel.file.unlink()
    assert (sentinel.looks(), sentinel.usable) == (0, False), "it is away, and theirs still"
    sentinel.file.write_text(SOMEBODYS)
    (sentinel.file.parent / "n9").write_text(SOMEBODYS)
    sentinel.tell(NodeLeft(sentinel.now, N1))
    assert sentinel.looks() == 0


@pytest.mark.parametrize(
    ("reason", "held"),
    [
        pytest.param("x" * 10_000, lambda answer: len(answer) <= MOST_WORDS, id="long"),
        pytest.param(
            "token xoxb-123456789012-abcdefghijkl", lambda answer: "xoxb-1" not in answer, id="secret"
        ),
        pytest.param("a\t\x1b[2J  b", lambda answer: "\t" not in answer, id="one line"),
    ],
)
def test_strangers_words_are_cut_and_hold_no_secrets(
    sentinel: Sentinel, reason: str, held: Callable[[str], bool]
) -> None:
    sentinel.file.write_text(SOMEBODYS.replace("bad DIMM", reason))
    assert [sentinel.looks(), sentinel.looks()] == [1, 0]
    assert held(sentinel.state.nodes[N1].drained.reason)  # type: ignore[union-attr]


def test_a_drain_by_hand_is_told_to_the_scheduler_with_who_and_why_and_taken_back(sentinel: Sentinel) -> None:
    sentinel.tell(Commanded(sentinel.now, "drain", N1, "ann", "new fan"))
    sentinel.does()
    assert "state=drained\nwho=sentinel/blue\nreason=drained by ann: new fan" in sentinel.file.read_text()
    assert (sentinel.looks(), sentinel.usable) == (0, False)
    sentinel.undrains()
    sentinel.does()
    assert (sentinel.looks(), sentinel.usable, sentinel.file.read_text()) == (0, True, IDLE)


def test_a_drain_by_hand_of_what_others_have_cordoned_is_told_when_they_give_it_back(
    sentinel: Sentinel,
) -> None:
    sentinel.file.write_text(SOMEBODYS)
    sentinel.looks()
    sentinel.tell(Commanded(sentinel.now, "drain", N1, "ann"))
    sentinel.does()
    assert sentinel.file.read_text() == SOMEBODYS
    sentinel.file.write_text(IDLE)
    sentinel.looks()
    sentinel.does()
    assert "reason=drained by ann" in sentinel.file.read_text()
    assert sentinel.looks() == 0
    sentinel.undrains()
    sentinel.does()
    assert (sentinel.looks(), sentinel.usable, sentinel.file.read_text()) == (0, True, IDLE)


def test_a_scheduler_that_is_away_is_told_when_it_is_back(sentinel: Sentinel) -> None:
    away = sentinel.file.with_suffix(".away")
    sentinel.file.rename(away)
    sentinel.file.mkdir()  # it can't be read
    sentinel.breaks()
    sentinel.does()
    assert not sentinel.state.nodes[N1].outside.is_known
    sentinel.file.rmdir()
    away.rename(sentinel.file)
    sentinel.waits()
    sentinel.does()
    assert "who=sentinel/blue\nreason=I-0001: gpu-lost" in sentinel.file.read_text()


def test_what_a_scheduler_said_before_it_was_told_otherwise_is_not_believed(sentinel: Sentinel) -> None:
    sentinel.breaks()
    sentinel.does()
    before, listed = outside(sentinel.state), asyncio.run(sentinel.nodes.known(1.0))
    sentinel.undrains()
    sentinel.does()
    assert list(cordons(sentinel.state, listed, sentinel.now, before)) == []
    assert sentinel.looks() == 0
