"""The control plane's own failures: GCS, journal, and a controller that starts again in mid-episode."""

from collections.abc import Callable

import pytest
from simulated import Simulated, ecc

from sentinel.core.fold import decide
from sentinel.core.state import State
from sentinel.core.state.rows import JobStage
from sentinel.model.action import Action, Page, RestartGcs, Resume, StopWorker
from sentinel.model.fact import (
    Commanded,
    ControllerPaused,
    ControllerStarted,
    Fact,
    GcsBack,
    GcsLost,
    JournalBack,
    JournalFailed,
    LinkBack,
    LinkLost,
)
from sentinel.model.ids import NodeId


def test_a_dead_gcs_is_paged_and_restarted_until_it_answers() -> None:
    cluster = Simulated()
    cluster.fails = {"RestartGcs"}
    cluster.tell(GcsLost(cluster.now, "10.0.0.1:6379", "refused"))
    cluster.run(30)
    assert (cluster.causes(), len(cluster.pages())) == (["gcs-dead"], 1)
    assert len(cluster.all(RestartGcs)) == 2
    cluster.tell(GcsBack(cluster.now, "10.0.0.1:6379"))
    cluster.run(100)
    assert (cluster.stages(), len(cluster.all(RestartGcs))) == (["resolved"], 2)


def test_a_gcs_that_hung_is_told_so_though_it_refuses_once_it_was_killed() -> None:
    cluster = Simulated()
    cluster.fails = {"RestartGcs"}
    cluster.tell(GcsLost(cluster.now, "10.0.0.1:6379", "it hangs"))
    cluster.run(1)
    cluster.tell(GcsLost(cluster.now, "10.0.0.1:6379", "refused"))
    cluster.run(30)
    assert len(cluster.all(RestartGcs)) == 2
    lines = cluster.all(Page)[-1].body.splitlines()
    assert "Why: the GCS at 10.0.0.1:6379 does not answer: it hangs" in lines
    assert lines.count("Did: restart the GCS") == 1


@pytest.mark.parametrize("how", ["back", "restart"])
def test_a_failing_journal_freezes_actions_until_it_works(how: str) -> None:
    cluster = Simulated()
    cluster.tell(JournalFailed(cluster.now, "disk full"))
    assert (cluster.causes(), len(cluster.pages())) == (["journal-failed"], 1)
    cluster.crash(0)
    cluster.run(5)
    assert cluster.resumed() == []
    cluster.tell(JournalBack(cluster.now) if how == "back" else started(cluster))
    cluster.run(5)
    cluster.settle()
    assert (cluster.state.frozen, cluster.going(), set(cluster.stages())) == ("", True, {"resolved"})


class Deaf(Simulated):
    """A cluster whose ray link does not answer: what is ordered of it waits."""

    there = True

    def _formed(self, action: Resume) -> None:
        if self.there:
            super()._formed(action)
        else:
            self.later(0.5, lambda: self._formed(action))

    def goes(self) -> None:
        self.there = False
        self.tell(LinkLost(self.now, "the ray link has not answered for 2 s"))

    def comes(self) -> None:
        self.there = True
        self.tell(LinkBack(self.now))


def test_a_link_that_is_soon_replaced_wakes_nobody() -> None:
    cluster = Deaf()
    cluster.goes()
    cluster.run(5)
    assert cluster.state.frozen == "ray-link-lost (I-0001)"
    cluster.comes()
    assert cluster.state.frozen == ""
    cluster.settle()
    assert (cluster.causes(), cluster.stages(), cluster.pages()) == (["ray-link-lost"], ["resolved"], set())


@pytest.mark.parametrize("comes_back", [False, True], ids=["never back", "goes again and again"])
def test_a_link_that_does_not_come_back_to_stay_is_paged_once(comes_back: bool) -> None:
    cluster = Deaf()
    for _ in range(20):
        cluster.goes() if cluster.there else None
        cluster.run(4)
        cluster.comes() if comes_back else None
        cluster.run(1)
    cluster.comes()
    cluster.settle()
    opened = [page for page in cluster.all(Page) if page.revision == 1]
    assert (len(opened), cluster.stages()) == (1, ["resolved"])


def test_nothing_is_ordered_and_nobody_killed_while_the_link_is_away_and_the_page_says_why() -> None:
    cluster = Deaf()
    cluster.goes()
    cluster.crash(0)
    cluster.run(150)
    assert (cluster.resumed(), cluster.all(StopWorker)) == ([], [])
    page = [page for page in cluster.all(Page) if page.incident == "I-0002"][-1]
    assert "not done: replace for rank-crash; actions are frozen: ray-link-lost (I-0001)" in page.body
    cluster.comes()
    cluster.run(5)
    cluster.settle()
    assert (len(cluster.resumed()), cluster.going()) == (1, True)
    page = [page for page in cluster.all(Page) if page.incident == "I-0002"][-1]
    assert "not done" not in page.body


def test_a_generation_that_was_ordered_is_asked_for_again_and_none_beside_it() -> None:
    cluster = Deaf()
    cluster.there = False  # it hangs, and nobody has noticed
    cluster.crash(0)
    cluster.run(2)
    cluster.goes()
    cluster.run(150)
    assert cluster.job.stage is JobStage.FORMING
    cluster.comes()
    cluster.run(5)
    cluster.settle()
    assert (len(cluster.resumed()), cluster.going(), set(cluster.stages())) == (1, True, {"resolved"})


@pytest.mark.parametrize("first", ["gcs", "link"])
def test_a_link_that_goes_with_the_gcs_is_one_incident_in_which_that_is_restarted(first: str) -> None:
    cluster = Deaf()
    lost = GcsLost(cluster.now, "10.0.0.1:6379", "refused")
    cluster.tell(lost) if first == "gcs" else cluster.goes()
    cluster.run(1)
    cluster.tell(lost) if first == "link" else cluster.goes()
    cluster.run(1)
    assert (cluster.causes(), len(cluster.all(RestartGcs)), cluster.state.frozen) == (["gcs-dead"], 1, "")
    cluster.tell(GcsBack(cluster.now, "10.0.0.1:6379"))
    cluster.settle()
    assert cluster.stages() != ["resolved"]
    cluster.comes()
    cluster.settle()
    assert (cluster.stages(), len(cluster.pages())) == (["resolved"], 1)


def test_no_deadline_passes_because_the_controller_stood_still() -> None:
    cluster = Simulated()
    cluster.crash(0)
    cluster.run(0.35)
    generation, waits = cluster.job.generation, dict(cluster.state.deadlines)
    cluster.now += 240
    cluster.tell(ControllerPaused(cluster.now, 240.0))
    assert dict(cluster.state.deadlines) == {name: at + 240.0 for name, at in waits.items()}
    cluster.run(5)
    cluster.settle()
    assert (cluster.job.generation, cluster.going(), cluster.stages()) == (generation, True, ["resolved"])


def test_what_was_promised_to_people_ends_when_it_was_to_end() -> None:
    cluster = Simulated()
    until = cluster.now + 60
    cluster.tell(Commanded(cluster.now, "maintain", "n4", "ann", "new kernel", until))
    cluster.now += 240
    cluster.tell(ControllerPaused(cluster.now, 240.0))
    cluster.run(0.1)
    assert cluster.state.nodes[NodeId("n4")].maintained is None


def started(cluster: Simulated) -> ControllerStarted:
    return ControllerStarted(cluster.now, 1, "p", "r")


def test_no_deadline_passes_just_because_the_controller_was_away() -> None:
    cluster = Simulated()
    cluster.crash(0)
    cluster.run(0.35)
    generation = cluster.job.generation
    cluster.now += 60
    cluster.tell(started(cluster))
    cluster.run(5)
    assert (cluster.job.generation, cluster.going()) == (generation, True)


def test_a_cut_that_heals_while_the_controller_is_away_thaws() -> None:
    cluster = Simulated()
    nodes = sorted(cluster.state.nodes)
    cluster.silence(*nodes)
    cluster.run(2)
    cluster.tell(started(cluster))
    assert cluster.state.frozen
    cluster.heard(*nodes)
    assert cluster.state.frozen == ""


def crash(cluster: Simulated) -> None:
    cluster.crash(0)
    cluster.run(10)


def bad_gpu(cluster: Simulated) -> None:
    cluster.crash(0)
    cluster.finding(cluster.node(0), ecc())
    cluster.run(10)


def lost_node(cluster: Simulated) -> None:
    cluster.ports[cluster.node(0)] = ("refused", "refused", -1)
    cluster.raises(1, kind="collective")
    cluster.silence(cluster.node(0))
    cluster.run(10)


def code(cluster: Simulated) -> None:
    cluster.advances = False
    for _ in range(2):
        cluster.raises(0)
        cluster.run(1)


def nan(cluster: Simulated) -> None:
    cluster.raises(0, "nan", "nan", 7, (float("nan"), 1.0))
    cluster.run(10)


def hang(cluster: Simulated) -> None:
    cluster.stall(cluster.beat(0), cluster.beat(1, state="T"))
    cluster.run(10)


EPISODES = [crash, bad_gpu, lost_node, code, nan, hang]


@pytest.mark.parametrize("episode", EPISODES)
def test_a_state_that_went_through_its_plain_form_goes_on_identically(
    episode: Callable[[Simulated], None],
) -> None:
    straight, restarting = Simulated(), Simulated()
    restarting.restarts = True
    episode(straight)
    episode(restarting)
    assert [repr(action) for action in restarting.actions] == [repr(action) for action in straight.actions]
    assert restarting.state.to_bytes() == straight.state.to_bytes()


@pytest.mark.parametrize("episode", EPISODES)
def test_the_same_facts_give_the_same_actions(episode: Callable[[Simulated], None]) -> None:
    cluster = Simulated()
    episode(cluster)
    again = refold(cluster.facts, cluster)
    assert again[-len(cluster.actions) :] == [repr(action) for action in cluster.actions]


def refold(facts: list[Fact], cluster: Simulated) -> list[str]:
    state = State()
    decided: list[Action] = []
    for fact in facts:
        decided += decide(state, fact, cluster.rules)
    return [repr(action) for action in decided]
