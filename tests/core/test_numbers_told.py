"""Numbers that people are told are true: what was lost, how long each stage took, how many ranks train."""

import re
from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from seen_by_people import names, newest, text
from simulated import Simulated, ecc

from sentinel.model.action import Refusal, Resume
from sentinel.model.fact import JobSubmitted, NodeJoined, Outcome
from sentinel.model.finding import Health
from sentinel.model.ids import JobId, NodeId

SECONDS = r"\d+(\.\d+)? s\b"


class Losing(Simulated):
    """Each generation that forms says how many steps it has to do again."""

    def __init__(self, losses: Sequence[int], **named: int) -> None:
        self.losses = [0, *losses]
        super().__init__(**named)

    def _formed(self, action: Resume) -> None:
        lost = self.losses.pop(0) if self.losses else 0
        self.outcome(action, data=(f"lost {lost}", f"restored step {self.step - lost} from memory"))
        if "Resume" not in self.fails:
            self.later(0.3, lambda: self._advanced(action))


def join(cluster: Simulated, name: str) -> None:
    cluster.tell(NodeJoined(cluster.now, NodeId(name), f"10.0.1.{name[1:]}", 1, 1, "boot"))


def lost(cluster: Simulated) -> list[str]:
    return re.findall(r"[Ss]teps lost: (\d+)", text(cluster))


# --- steps ---------------------------------------------------------------------------------------------


def test_steps_of_one_re_forming_are_told() -> None:
    cluster = Losing([3])
    cluster.crash(0)
    cluster.run(30)
    assert lost(cluster) == ["3"]


def test_steps_that_several_re_formings_lost_are_summed() -> None:
    """The second break comes three seconds after the first was repaired, so it is the same incident."""
    cluster = Losing([3, 2])
    for _ in range(2):
        cluster.crash(0)
        cluster.run(3)
    cluster.run(60)
    assert lost(cluster) == ["5"]


def test_three_re_formings_are_summed_too() -> None:
    cluster = Losing([3, 2, 4])
    for _ in range(3):
        cluster.crash(1, "signal 15")
        cluster.run(3)
    cluster.run(60)
    assert lost(cluster) == ["9"]


def test_steps_that_no_generation_did_again_are_lost_once() -> None:
    """Two attempts from the same snapshot, the first of which made no step, lose the same three steps."""
    cluster = Losing([3, 3])
    cluster.advances = False
    cluster.crash(0)
    cluster.run(1)
    cluster.advances = True
    cluster.run(60)
    assert (len(cluster.resumed()), lost(cluster)) == (2, ["3"])


class GoesBack(Simulated):
    """Its generations go back as the test says: (step restored, steps lost by those that answered)."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 288
        self.advance()
        self.advances = False

    def _formed(self, action: Resume) -> None:
        pass

    def goes_back(self, to: int, lost: int, *, ok: bool = True, age: int = 0) -> None:
        """One more death; the generation that is that many older than the newest says how it went."""
        self.crash(0)
        self.run(1.0)
        self.says(to, lost, ok=ok, age=age)

    def says(self, to: int, lost: int, *, ok: bool = True, age: int = 0) -> None:
        action = self.all(Resume)[-1 - age]
        data = (f"lost {lost}", f"restored step {to} from memory")
        self.tell(Outcome(self.now, action.id, ok, "said", data))

    @property
    def lost(self) -> int | None:
        (incident,) = self.incidents()
        return incident.steps_lost


def test_a_death_before_the_lost_steps_are_made_again_adds_none_of_them() -> None:
    """The second generation made three of the steps again, and nothing of them was lost."""
    cluster = GoesBack()
    cluster.goes_back(166, 123)
    cluster.goes_back(169, 0)
    assert cluster.lost == 123
    cluster.step = 289
    cluster.advance()
    cluster.run(60)
    assert lost(cluster) == ["123"]


@pytest.mark.parametrize(
    ("backs", "steps"),
    [
        ([(166, 123), (166, 0)], 123),  # nobody had stepped: all had gone back already
        ([(166, 123), (166, 123)], 123),  # one had not gone back yet
        ([(166, 123), (166, 3)], 123),
        ([(166, 123), (169, 0), (180, 0)], 123),
        ([(166, 123), (149, 20)], 140),  # an older checkpoint: what is on the way counts, too
        ([(166, 123), (169, 0), (149, 0)], 140),
        ([(280, 0)], 9),  # nobody is left who was there: at least what was told of
    ],
)
def test_steps_are_lost_from_the_earliest_that_was_gone_back_to(
    backs: Sequence[tuple[int, int]], steps: int
) -> None:
    cluster = GoesBack()
    for to, count in backs:
        cluster.goes_back(to, count)
    assert cluster.lost == steps


@pytest.mark.parametrize("backs", [[(300, 10)], [(300, 10), (305, 0)]])
def test_after_a_new_step_what_is_lost_comes_on_top(backs: Sequence[tuple[int, int]]) -> None:
    cluster = GoesBack()
    cluster.goes_back(166, 123)
    cluster.step = 289
    cluster.advance()
    for to, count in backs:
        cluster.goes_back(to, count)
    assert cluster.lost == 133


def test_a_new_step_that_was_not_heard_of_is_known_by_where_the_next_generation_begins() -> None:
    cluster = GoesBack()
    cluster.goes_back(166, 123)
    cluster.goes_back(300, 10)
    assert cluster.lost == 133


def test_a_superseded_generation_tells_what_was_lost_whenever_it_is_heard() -> None:
    before, after = GoesBack(), GoesBack()
    for cluster in (before, after):
        cluster.crash(0)
        cluster.run(1.0)
        cluster.crash(0)
        cluster.run(1.0)
        assert len(cluster.all(Resume)) == 2
    before.says(166, 123, age=1)
    before.says(166, 0)
    after.says(166, 0)
    after.says(166, 123, age=1)
    assert (before.lost, after.lost) == (123, 123)


def test_a_resume_that_failed_tells_how_far_those_went_back_that_did() -> None:
    cluster = GoesBack()
    cluster.goes_back(166, 123, ok=False)
    cluster.run(60)
    cluster.says(166, 0)
    assert cluster.lost == 123


def test_nothing_lost_is_said_as_nothing() -> None:
    cluster = Losing([0, 0])
    for _ in range(2):
        cluster.crash(0)
        cluster.run(3)
    cluster.run(60)
    assert lost(cluster) == ["0"]


def test_another_incidents_steps_are_its_own() -> None:
    cluster = Losing([3, 2])
    for _ in range(2):
        cluster.crash(0)
        cluster.run(900)
    assert lost(cluster) == ["3", "2"]


# --- times ---------------------------------------------------------------------------------------------


def says(stage: str, body: str) -> bool:
    """Say whether a line about this stage has a number of seconds."""
    return any(re.search(SECONDS, line) for line in body.splitlines() if stage in line.lower())


@pytest.mark.parametrize(
    "stage",
    ["diagnosed", "evicted", "first step", "resolved"],
)
def test_a_page_says_how_long_each_stage_took(stage: str) -> None:
    cluster = Simulated()
    cluster.finding(cluster.node(0), ecc())
    cluster.run(60)
    (page,) = newest(cluster)
    assert says(stage, page.body)


def test_a_stage_that_was_not_reached_has_no_time() -> None:
    """A job that does not come back has no first step; a crash has no eviction."""
    cluster = Simulated()
    cluster.advances = False
    cluster.crash(0)
    cluster.run(60)
    (page,) = newest(cluster)
    assert not any(says(stage, page.body) for stage in ("evicted", "first step", "resolved"))


def test_the_time_to_the_first_step_is_not_the_time_to_the_end() -> None:
    """Recovered and resolved are two moments."""
    cluster = Simulated()
    cluster.crash(0)
    cluster.run(120)
    (page,) = newest(cluster)
    numbers = {
        stage: float(match.group(1))
        for line in page.body.splitlines()
        for stage in ("first step", "resolved")
        if stage in line.lower() and (match := re.search(r"(\d+(?:\.\d+)?) s\b", line))
    }
    assert 0.5 <= numbers["first step"] <= 2.0 < numbers["resolved"]


# --- degraded, and growing back ------------------------------------------------------------------------


def shrunken(**named: int) -> tuple[Simulated, NodeId]:
    """Return a job of two that goes on with one rank, and the node that it lost."""
    cluster = Simulated(nodes=2, min_world=1, **named)
    bad = cluster.node(0)
    cluster.finding(bad, ecc())
    cluster.run(10)
    assert ([len(nodes) for nodes in cluster.resumed()], cluster.going()) == ([1], True)
    return cluster, bad


def test_a_page_says_degraded_while_fewer_ranks_train_than_wanted() -> None:
    cluster, _ = shrunken()
    cluster.run(600)
    (page,) = newest(cluster)
    assert page.stage != "resolved"
    assert ("degraded" in page.body.lower(), "1 of 2" in page.body) == (True, True)


def test_a_page_says_so_no_more_when_all_ranks_train() -> None:
    cluster, _ = shrunken()
    join(cluster, "n3")
    cluster.run(60)
    assert len(cluster.seats) == 2
    (page,) = newest(cluster)
    assert ("degraded" in page.body.lower(), page.stage) == (False, "resolved")


def test_a_job_that_is_as_large_as_wanted_is_never_called_degraded() -> None:
    cluster = Simulated()
    cluster.finding(cluster.node(0), ecc())
    cluster.run(60)
    assert "degraded" not in text(cluster).lower()


def test_a_job_grows_back_at_a_step_boundary_when_a_node_joins() -> None:
    cluster, bad = shrunken()
    running = tuple(cluster.seats)
    pages = cluster.pages()
    join(cluster, "n3")
    cluster.run(20)
    grown = cluster.all(Resume)[-1]
    assert (len(grown.seats), grown.pause) == (2, running), "no step is lost"
    assert bad not in cluster.resumed()[-1]
    assert (cluster.going(), cluster.pages()) == (True, pages), "it is no incident"


def test_a_job_grows_back_when_its_node_is_undrained() -> None:
    """Repaired: a GPU that a check accuses still gets no rank, whoever vouches for its node."""
    cluster, bad = shrunken()
    cluster.finding(bad, replace(ecc(), health=Health.OK))
    cluster.command("undrain", bad)
    cluster.run(20)
    grown = cluster.all(Resume)[-1]
    assert (len(grown.seats), bool(grown.pause), cluster.going()) == (2, True, True)


def test_a_job_grows_back_when_another_is_stopped() -> None:
    cluster = Simulated(nodes=3, min_world=1)
    other = JobId("other")
    cluster.tell(JobSubmitted(cluster.now, other, 1, "x:y", 0, 1))
    cluster.run(10)
    cluster.actions.clear()
    cluster.finding(cluster.node(0), ecc())
    cluster.run(10)
    assert [len(nodes) for nodes in cluster.resumed()] == [1]
    cluster.command("stop-job", other)
    cluster.run(20)
    assert (len(cluster.resumed()[-1]), bool(cluster.all(Resume)[-1].pause)) == (2, True)


def test_a_job_that_shrank_for_a_humans_drain_grows_back_and_wakes_nobody() -> None:
    """Whoever drains a node knows why fewer ranks train."""
    cluster = Simulated(nodes=2, min_world=1)
    node = cluster.node(0)
    cluster.command("drain", node)
    cluster.run(20)
    assert [len(nodes) for nodes in cluster.resumed()] == [1]
    cluster.command("undrain", node)
    cluster.run(20)
    assert (len(cluster.seats), cluster.going(), cluster.pages()) == (2, True, set())


def test_two_nodes_that_join_together_are_one_re_forming() -> None:
    cluster = Simulated(nodes=3, world=3, min_world=1)
    for rank in (0, 0):
        node = cluster.node(rank)
        cluster.ports[node] = ("refused", "refused", -1)
        cluster.raises(cluster.job.world - 1, kind="collective")
        cluster.silence(node)
        cluster.run(20)
    assert len(cluster.resumed()[-1]) < 3
    before = len(cluster.resumed())
    for name in ("n4", "n5"):
        join(cluster, name)
        cluster.run(0.2)
    cluster.run(30)
    assert (len(cluster.resumed()) - before, len(cluster.resumed()[-1])) == (1, 3)


def test_a_job_is_not_disturbed_for_a_node_where_nothing_starts() -> None:
    cluster, _ = shrunken()
    cluster.never_starts = {"n3"}
    before = len(cluster.resumed())
    join(cluster, "n3")
    cluster.run(120)
    assert (len(cluster.resumed()), cluster.going()) == (before, True)


def test_a_job_does_not_grow_while_actions_are_stopped_and_does_after() -> None:
    cluster, _ = shrunken()
    before = len(cluster.resumed())
    cluster.command("stop-actions")
    join(cluster, "n3")
    cluster.run(60)
    assert len(cluster.resumed()) == before
    cluster.command("resume-actions")
    cluster.run(20)
    assert len(cluster.resumed()[-1]) == 2


def test_a_node_that_joins_amid_a_re_forming_does_not_break_it_off() -> None:
    cluster = Simulated(nodes=2, min_world=1)
    cluster.finding(cluster.node(0), ecc())
    cluster.run(0.4)
    join(cluster, "n3")
    cluster.run(30)
    assert (len(cluster.resumed()[-1]), cluster.going()) == (2, True)
    assert len(cluster.resumed()) <= 2


def test_a_job_does_not_grow_while_a_rank_sits_on_a_silent_node() -> None:
    """Whether that one stays is seen first."""
    cluster, _ = shrunken()
    before = len(cluster.resumed())
    cluster.ports[cluster.node(0)] = ("refused", "ok", 5)
    cluster.silence(cluster.node(0))
    join(cluster, "n3")
    cluster.run(2)
    assert len(cluster.resumed()) == before
    cluster.heard(cluster.node(0))
    cluster.run(20)
    assert len(cluster.resumed()[-1]) == 2


def test_a_rank_more_than_wanted_is_never_seated() -> None:
    cluster = Simulated(nodes=2)
    before = len(cluster.resumed())
    join(cluster, "n3")
    cluster.run(60)
    assert (len(cluster.resumed()), len(cluster.seats)) == (before, 2)


def test_a_job_that_shrank_below_its_smallest_world_is_told_as_waiting() -> None:
    cluster = Simulated(nodes=2, min_world=2)
    dead = cluster.node(0)
    cluster.ports[dead] = ("refused", "refused", -1)
    cluster.raises(1, kind="collective")
    cluster.silence(dead)
    cluster.run(60)
    assert "has room for 1" in str(cluster.all(Refusal))
    assert (names(dead, text(cluster)), "degraded" in text(cluster).lower()) == (True, False)
