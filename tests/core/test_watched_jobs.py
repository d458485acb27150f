"""A job that Sentinel did not start: seen, diagnosed as ours, started again by its command or by people."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from simulated import JOB, Simulated, lost

from sentinel.core.detect.gangs import MOST_JOBS
from sentinel.core.detect.watch import Watch
from sentinel.core.fold import fold, retell
from sentinel.core.settle import missing
from sentinel.core.state import State
from sentinel.model.action import Action, Evict, Page, RestartJob, Resume, StartWorker, StopJob, StopWorker
from sentinel.model.fact import (
    Fact,
    GangSeen,
    JobSubmitted,
    NodeSilent,
    RankExited,
    RankSeen,
    RankSlow,
)
from sentinel.model.ids import JobId, NodeId, WorkerId
from sentinel.model.report import RankBeat, Report

OURS = (Resume, StartWorker, StopWorker, StopJob)


class Started(Simulated):
    """A cluster on which somebody else has started a job, one rank on each of the first nodes."""

    def __init__(self, world: int = 3, nodes: int = 4, *, command: bool = True, known: bool = True) -> None:
        self.has_command, self.known, self.born = command, known, 0
        super().__init__(nodes, world=world)
        self.starts(*range(1, world + 1))
        self.advance()

    def tell(self, fact: Fact) -> tuple[Action, ...]:
        if isinstance(fact, JobSubmitted):
            fact = replace(fact, world=0, watched=True, restarts=self.has_command)
            if not self.known:
                return ()
        actions = super().tell(fact)
        assert missing(self.state, self.rules) == [], "what is settled is settled"
        assert not any(isinstance(action, OURS) for action in actions), "whoever started it seats its ranks"
        return actions

    def starts(self, *nodes: int) -> None:
        """Ranks beat on these nodes, in new processes."""
        self.born += 1
        ranks = (
            RankSeen(rank, WorkerId(f"r{rank}-{self.born}"), NodeId(f"n{node}"), 0, 100 * self.born + rank)
            for rank, node in enumerate(nodes)
        )
        self.tell(GangSeen(self.now, JOB, tuple(ranks)))
        self.gang = [worker for worker in self.workers if worker.id.endswith(f"-{self.born}")]

    def end(self, *ends: tuple[int, str], apart: float = 0.1) -> None:
        """Ranks end one after the other."""
        for rank, how in ends:
            self._exits(self.gang[rank], JOB, how)
            self.run(apart)

    def restarted(self) -> list[RestartJob]:
        return self.all(RestartJob)

    def page(self) -> Page:
        return self.all(Page)[-1]


def blamed(job: Started) -> list[Any]:
    return [suspect.rank for i in job.incidents() if i.diagnosis for suspect in i.diagnosis.suspects]


@pytest.mark.parametrize("known", [True, False], ids=["named in the settings", "never heard of"])
def test_a_gang_that_beats_is_a_job_with_its_seats(known: bool) -> None:
    job = Started(known=known)
    assert job.going()
    assert [job.node(rank) for rank in range(3)] == ["n1", "n2", "n3"]
    assert not job.incidents()


def test_a_killed_rank_is_named_and_the_command_is_run_once() -> None:
    job = Started()
    job.end((1, "signal 9"), (0, "exit 1"), (2, "signal 15"), apart=0.4)
    assert job.causes() == ["rank-crash"]
    assert blamed(job) == [1]
    assert [(each.generation, each.cause) for each in job.restarted()] == [(1, "rank-crash")]
    job.run(30)
    job.starts(1, 2, 3)
    job.advance()
    job.settle()
    assert job.stages() == ["resolved"]
    assert job.going()
    assert len(job.restarted()) == len(job.pages()) == 1
    assert "run job.restart_command" in job.page().body


def test_without_a_command_people_are_asked_until_it_runs_again() -> None:
    job = Started(command=False)
    job.end((1, "signal 9"))
    job.run(5)
    assert job.causes() == ["rank-crash"]
    assert not job.restarted()
    assert "start it again" in job.page().body
    assert "Asked of you: what is left" in job.page().body
    job.starts(1, 2, 3)
    job.advance()
    job.settle()
    assert job.stages() == ["resolved"]
    assert "Asked of you: nothing" in job.page().body


KILL, SEGV, TERM, INT = "signal 9", "signal 11", "signal 15", "signal 2"


@pytest.mark.parametrize(
    ("ends", "cause", "ranks"),
    [
        pytest.param([(2, KILL), (0, TERM), (1, TERM)], "rank-crash", [2], id="a launcher"),
        pytest.param([(2, SEGV), (0, "exit 1"), (1, "exit 1")], "rank-crash", [2], id="peers that raise"),
        pytest.param([(1, "exit 1"), (0, "exit 1"), (2, TERM)], "rank-crash", [1], id="raised first"),
        pytest.param([(2, "unknown"), (0, TERM), (1, TERM)], "rank-crash", [2], id="not told how"),
        pytest.param([(0, TERM), (1, TERM), (2, TERM)], "job-ended", [], id="cancelled"),
        pytest.param([(0, "exit 143"), (1, "exit 1"), (2, "exit 1")], "job-ended", [], id="preempted"),
        pytest.param([(0, INT), (1, "exit 130"), (2, INT)], "job-ended", [], id="Ctrl-C"),
        pytest.param([(0, "unknown"), (1, "unknown"), (2, "unknown")], "job-ended", [], id="perhaps done"),
        pytest.param([(0, "exit 0"), (1, "unknown"), (2, "unknown")], "job-ended", [], id="one said so"),
    ],
)
@pytest.mark.parametrize("apart", [0.02, 0.4, 2.0])
def test_who_ends_first_counts_and_who_follows_is_blamed_for_nothing(
    ends: Sequence[tuple[int, str]], cause: str, ranks: list[int], apart: float
) -> None:
    job = Started()
    job.end(*ends, apart=apart)
    job.run(10)
    assert job.causes() == [cause]
    assert blamed(job) == ranks
    assert len(job.restarted()) == (cause == "rank-crash")
    failed = [node.id for node in job.state.nodes.values() if node.failures]
    assert failed == [f"n{rank + 1}" for rank, how in ends if how in (KILL, SEGV)]
    assert not job.evicted()


@pytest.mark.parametrize("how", ["signal 15", "unknown"])
def test_a_job_that_was_ended_is_nobodys_business_any_more_once_it_steps_again(how: str) -> None:
    job = Started()
    job.end((0, how), (1, how), (2, how))
    job.run(10)
    assert (job.causes(), job.stages()) == (["job-ended"], ["open"])
    job.starts(1, 2, 3)
    job.advance()
    job.settle()
    assert job.stages() == ["resolved"]


def test_nobody_of_it_is_killed_when_a_silent_node_comes_back() -> None:
    """`Started` sees that Sentinel orders nothing for it: whoever starts it ends what is left of it."""
    job = Started()
    job.ports["n2"] = ("ok", "ok", 7)
    job.silence(NodeId("n2"))
    job.end((1, "signal 9"))
    job.run(5)
    job.heard(NodeId("n2"))
    job.run(5)
    assert not job.at("n2").silent


def test_a_job_whose_ranks_are_done_is_finished_and_may_run_anew() -> None:
    job = Started()
    job.end((0, "exit 0"), (1, "exit 0"), (2, "exit 0"))
    job.run(60)
    assert job.job.stage.value == "finished"
    assert not job.incidents()
    job.starts(1, 2)
    job.advance()
    assert job.going()
    assert not job.job.is_degraded


def test_a_lost_gpu_evicts_its_node_and_the_command_is_told_to_avoid_it() -> None:
    job = Started()
    job.finding(NodeId("n2"), lost())
    job.run(5)
    assert job.causes() == ["gpu-lost"]
    assert [each.avoid for each in job.restarted()] == [("n2",)]
    assert job.evicted() == ["n2"]
    assert job.job.stage.value == "forming", "the command has it now"
    job.starts(1, 3, 4)
    job.advance()
    job.settle()
    assert job.stages() == ["resolved"]


def test_a_rank_that_dies_of_its_gpu_is_one_incident_and_one_restart() -> None:
    job = Started()
    job.end((1, "exit 1"), apart=0.05)
    job.finding(NodeId("n2"), lost())
    job.end((0, "exit 1"), (2, TERM))
    job.run(5)
    assert job.causes() == ["gpu-lost"]
    assert [each.avoid for each in job.restarted()] == [("n2",)]
    assert job.job.stage.value == "forming"


def test_a_gang_that_starts_on_an_evicted_node_is_started_again_as_often_as_any_attempt() -> None:
    job = Started()
    job.finding(NodeId("n2"), lost())
    for _ in range(5):
        job.run(5)
        job.starts(1, 2, 3)
    job.run(5)
    assert len(job.restarted()) == job.rules.policy.resume_attempts
    assert "attempts brought no new step" in job.page().body


def test_what_trains_is_not_ended_where_only_people_can_start_it_again() -> None:
    job = Started(command=False)
    job.finding(NodeId("n2"), lost())
    job.run(5)
    assert job.going()
    assert job.at("n2").cordon is not None
    assert not job.all(Evict), "its ranks leave when it is started again"
    assert "start it again when it suits" in job.page().body
    job.starts(1, 3, 4)
    job.advance()
    job.settle()
    assert job.evicted() == ["n2"]
    assert job.stages() == ["resolved"]


def test_a_slow_rank_ends_no_job() -> None:
    job = Started()
    job.tell(RankSlow(job.now, JOB, 1, NodeId("n2"), 0, job.job.generation, 0.5, 0.1, 12))
    job.run(30)
    assert job.going()
    assert not job.restarted()
    assert "end it when it suits" in job.page().body


def test_what_was_asked_for_a_slow_rank_is_done_when_somebody_ends_the_job() -> None:
    job = Started()
    job.tell(RankSlow(job.now, JOB, 1, NodeId("n2"), 0, job.job.generation, 0.5, 0.1, 12))
    job.run(30)
    job.end((0, TERM), (1, TERM), (2, TERM))
    job.run(5)
    assert [each.avoid for each in job.restarted()] == [("n2",)]
    assert job.causes() == ["straggler"]
    assert "not done" not in job.page().body


def test_nobody_is_asked_any_more_when_a_human_takes_the_node_back() -> None:
    job = Started()
    job.tell(RankSlow(job.now, JOB, 1, NodeId("n2"), 0, job.job.generation, 0.5, 0.1, 12))
    job.run(30)
    job.command("undrain", "n2")
    assert job.job.want is None
    assert "Left:" not in job.page().body


def test_a_command_that_fails_is_not_run_again_until_somebody_says_so() -> None:
    job = Started()
    job.fails.add("RestartJob")
    job.end((1, "signal 9"))
    job.run(1000)
    assert len(job.restarted()) == 1
    assert "Failed:" in job.page().body
    assert "start it again" in job.page().body
    job.fails.clear()
    job.command("retry", JOB)
    job.run(1)
    assert len(job.restarted()) == 2


def test_ranks_that_do_not_come_are_peoples_business_and_the_command_is_not_run_twice() -> None:
    job = Started()
    job.end((1, "signal 9"))
    job.run(2 * job.rules.policy.slow_phase_s)
    assert len(job.restarted()) == 1
    assert "the ranks of moe did not come" in job.page().body


def test_an_exit_after_the_command_was_run_is_no_news() -> None:
    job = Started()
    job.end((1, "signal 9"))
    job.run(1)
    job.end((0, "signal 9"), (2, "signal 9"))
    job.run(5)
    assert blamed(job) == [1]
    assert len(job.restarted()) == 1


def test_a_gang_under_the_name_of_our_own_job_is_not_believed() -> None:
    ours = Simulated(world=2)
    seats = ours.seats
    ours.tell(GangSeen(ours.now, JOB, (RankSeen(0, WorkerId("x"), NodeId("n3"), 0, 7),)))
    assert ours.seats == seats
    assert not ours.job.watched


@pytest.mark.parametrize("how", [KILL, TERM, "unknown"])
def test_a_controller_that_starts_anew_believes_what_the_one_before_did(how: str) -> None:
    job = Started()
    again = State()
    job.end((1, how), (0, TERM), (2, TERM))
    job.run(20)
    job.starts(1, 2, 3)
    job.advance()
    job.settle()
    folded = State()
    for fact in job.facts:
        retell(again, fact, fold(folded, fact, job.rules), job.rules)
    assert again == folded == job.state
    assert State.from_bytes(again.to_bytes()) == again


# --- what the watch sees -------------------------------------------------------------------------------


def rank_beat(rank: int, worker: str, world: int = 2, generation: int = 0, step: int = 5) -> RankBeat:
    place = WorkerId(worker), 7 + rank, 0, generation, step
    return RankBeat(JOB, rank, *place, "compute", 0, 0, 0.1, 0.0, 1.0, 0.1, "S", 0.1, world=world)


class Looking(Started):
    """A watch to which nodes report."""

    def __init__(self) -> None:
        super().__init__(world=2, known=False)
        self.watch = Watch(self.rules.policy, self.now - 60)

    def report(self, *beats: tuple[str, RankBeat]) -> list[Fact]:
        """The nodes report these beats, and the others none."""
        self.now += 0.25
        facts: list[Fact] = []
        for node in self.state.nodes:
            here = tuple(beat for name, beat in beats if name == node)
            facts += self.watch.report(Report(node, "boot", 0, here, ()), self.state, self.now)
        facts += self.watch.tick(self.state, self.now)
        return [fact for fact in facts if isinstance(fact, GangSeen | RankExited)]


def test_a_gang_is_seen_when_all_its_ranks_beat_and_only_once() -> None:
    job = Looking()
    assert not job.report(("n1", rank_beat(0, "a")))
    [gang] = job.report(("n1", rank_beat(0, "a")), ("n2", rank_beat(1, "b")))
    assert isinstance(gang, GangSeen)
    job.tell(gang)
    assert job.seats == ["a", "b"]
    assert not job.report(("n1", rank_beat(0, "a")), ("n2", rank_beat(1, "b")))


@pytest.mark.parametrize(
    "beats",
    [
        pytest.param([("n1", rank_beat(0, "a")), ("n2", rank_beat(0, "b"))], id="a rank twice"),
        pytest.param(
            [("n1", rank_beat(0, "a")), ("n2", rank_beat(1, "b")), ("n3", rank_beat(1, "c"))],
            id="two for one rank",
        ),
        pytest.param([("n1", rank_beat(0, "a")), ("n2", rank_beat(1, "b", world=3))], id="two sizes"),
        pytest.param([("n1", rank_beat(0, "a", world=0)), ("n2", rank_beat(1, "b", world=0))], id="no size"),
    ],
)
def test_what_may_be_two_gangs_is_none(beats: list[tuple[str, RankBeat]]) -> None:
    assert not Looking().report(*beats)


def test_a_node_that_tells_of_jobs_without_end_fills_nothing() -> None:
    job = Looking()
    for number in range(MOST_JOBS + 9):
        beat = replace(rank_beat(0, f"w{number}", world=1), job=JobId(f"j{number}"))
        for fact in job.report(("n1", beat)):
            job.tell(fact)
    assert len(job.state.jobs) <= MOST_JOBS + 1


@pytest.mark.parametrize(
    ("phase", "state", "restarts"),
    [
        pytest.param("training", "S", 0, id="who names no pause may be evaluating"),
        pytest.param("training", "T", 1, id="who is stopped is not"),
        pytest.param("evaluate", "S", 0, id="who evaluates"),
        pytest.param("compute", "S", 1, id="who names pauses and is in none"),
    ],
)
def test_a_job_that_stands_still_is_started_again_if_it_can_be_no_pause(
    phase: str, state: str, restarts: int
) -> None:
    job = Started(world=2)
    watch = Watch(job.rules.policy, job.now - 60)
    places = [("n1", job.gang[0]), ("n2", job.gang[1])]
    for step in [*range(12), *[11] * 80]:
        job.run(0.25)
        facts: list[Fact] = []
        for node, rank in places:
            beat = replace(rank_beat(rank.rank, rank.id, step=step), phase=phase, state=state)
            facts += watch.report(Report(NodeId(node), "b", 0, (beat,), ()), job.state, job.now)
        for fact in [*facts, *watch.tick(job.state, job.now)]:
            if not isinstance(fact, NodeSilent):  # the other nodes report elsewhere
                job.tell(fact)
    assert len(job.restarted()) == restarts


def test_ranks_that_ended_while_no_agent_was_there_are_missed() -> None:
    job = Looking()
    beats = [("n1", rank_beat(0, "a")), ("n2", rank_beat(1, "b"))]
    for fact in job.report(*beats):
        job.tell(fact)
    again: list[Fact] = []
    for _ in range(int(4 * job.rules.policy.silent_s) + 8):
        found = job.report(beats[0])
        for fact in found:
            job.tell(fact)
        again += found
    [ended] = again
    assert isinstance(ended, RankExited)
    assert (ended.rank, ended.node, ended.how) == (1, "n2", "unknown")


def test_steps_count_in_the_generation_in_which_a_rank_was_seen_whatever_its_starter_counts() -> None:
    job = Looking()
    for generation in (3, 0):  # the launcher was started anew, and begins at 0
        names = f"a{generation}", f"b{generation}"
        beats = [("n1", rank_beat(0, names[0], generation=generation)), ("n2", rank_beat(1, names[1]))]
        [gang] = job.report(*beats)
        job.tell(gang)
        job.report(*beats)
        seen = [beat for node in ("n1", "n2") for beat in job.watch.beats(NodeId(node))]
        assert {beat.generation for beat in seen} == {job.job.generation}
