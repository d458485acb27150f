"""A job that can go on does, what broke it is not forgotten, and nobody is told the same twice."""

from msgspec.structs import replace
from simulated import JOB, Simulated, ecc, xid
from test_watch import Watched

from sentinel.core.detect.watch import Watch
from sentinel.core.state import State
from sentinel.model.action import Action, CollectStacks, Page, Refusal, Resume, StartWorker, StopWorker
from sentinel.model.fact import (
    Commanded,
    ControllerStarted,
    GcsBack,
    GcsLost,
    JobPaced,
    JobStalled,
    Outcome,
    RankExited,
    WorkerReady,
)
from sentinel.model.finding import Finding, Health
from sentinel.model.policy import Policy
from sentinel.model.report import RankBeat


class Played(Watched):
    """A watched cluster whose facts are decided, too."""

    def __init__(self, world: int = 3) -> None:
        super().__init__(world=world)
        self.phases = ["collective"] * world
        self.enqueued = [10] * world
        self._entered: dict[int, tuple[tuple[str, int, int], float]] = {}

    def _beat(self, rank: int, step: int) -> RankBeat:
        beat = self.beat(rank, self.phases[rank], self.enqueued[rank], self.states[rank])
        where = self.phases[rank], self.enqueued[rank], step
        if rank not in self._entered or self._entered[rank][0] != where:
            self._entered[rank] = where, self.now
        age = self.now - self._entered[rank][1]
        return replace(beat, step=step, outside_s=self.outside[rank], phase_age_s=age)

    def play(self, step: int, seconds: float) -> None:
        """Ranks that stand at a step, for a while."""
        for _ in range(max(1, round(seconds / 0.25))):
            for fact in self.report(step):
                self.tell(fact)
            self.run(0)

    def new_controller(self) -> None:
        """One that has seen no report yet."""
        self.state = State.from_bytes(self.state.to_bytes())
        self.watch = Watch(self.rules.policy, self.now)
        self.tell(ControllerStarted(self.now, 2, "p", "r"))


def test_five_faults_within_seconds_are_five_repairs() -> None:
    cluster = Simulated(nodes=100, world=64)
    for number, code in enumerate((79, 95, 119, 74, 48), 1):  # of one kind they would have a common cause
        cluster.finding(f"n{number}", xid(code))  # type: ignore[arg-type]
        cluster.run(0.1)
    cluster.run(60)
    assert (len(cluster.evicted()), cluster.going()) == (5, True)


def test_a_crash_while_the_gcs_is_away_is_repaired_when_it_is_back() -> None:
    cluster = Simulated()
    cluster.tell(GcsLost(cluster.now, "head:6379", "refused"))
    cluster.fails = {"Resume", "StartWorker", "RestartGcs"}
    cluster.crash(0)
    cluster.run(120)
    assert not cluster.going()
    cluster.fails = set()
    cluster.tell(GcsBack(cluster.now, "head:6379"))
    cluster.run(10)
    cluster.settle()
    assert (cluster.going(), cluster.stages()) == (True, ["resolved", "resolved"])


def test_a_rank_that_hangs_on_after_storage_is_back_is_restarted() -> None:
    cluster = Played()
    for step in range(20):
        cluster.play(step, 0.25)
    cluster.phases = ["data"] * 3
    cluster.play(19, 5)
    assert (cluster.causes(), cluster.all(Resume)) == (["storage-stall"], [])
    cluster.phases, cluster.enqueued = ["collective", "collective", "data"], [11, 11, 10]
    cluster.play(19, 8)
    assert cluster.causes()[-1] == "data-stall"
    assert cluster.all(Resume)


def test_while_storage_comes_back_rank_by_rank_nothing_is_done() -> None:
    cluster = Played()
    for step in range(20):
        cluster.play(step, 0.25)
    cluster.phases = ["data"] * 3
    cluster.play(19, 5)
    cluster.phases, cluster.enqueued = ["collective", "data", "data"], [11, 10, 10]
    cluster.play(19, 1)
    cluster.phases, cluster.enqueued = ["collective", "collective", "data"], [11, 11, 10]
    cluster.play(19, 1)
    cluster.play(20, 0.25)
    cluster.settle()
    assert (cluster.all(Resume), cluster.stages()) == ([], ["resolved"])


def test_an_evaluation_in_which_collectives_come_and_go_is_no_hang() -> None:
    cluster = Played()
    for step in range(20):
        cluster.play(step, 0.25)
    for number in range(240):
        cluster.enqueued = [11 + number] * 3
        cluster.play(19, 0.25)
    assert cluster.said(JobStalled) == []
    cluster.play(19, 4)
    assert len(cluster.said(JobStalled)) == 1, "and when they stop, it is one"


def test_a_new_controller_knows_how_long_a_step_takes() -> None:
    cluster = Played()
    for step in range(20):
        cluster.play(step, 0.25)
    assert len(cluster.said(JobPaced)) == 1
    cluster.new_controller()
    cluster.enqueued = [11, 10, 11]
    cluster.play(19, 6)
    assert len(cluster.said(JobStalled)) == 1


def test_a_node_that_is_taken_back_before_anyone_left_it_costs_no_generation() -> None:
    cluster = Simulated(nodes=2, world=2, min_world=2)
    home = cluster.node(0)
    cluster.command("drain", home)
    cluster.run(60)
    cluster.command("undrain", home)
    cluster.run(60)
    assert cluster.all(Resume) == []
    assert cluster.job.want is None


def test_a_node_that_is_still_silent_when_the_job_steps_again_is_not_forgotten() -> None:
    cluster = Simulated(nodes=8, world=4)
    silent = cluster.node(2)
    cluster.ports[silent] = ("ok", "ok", -1)
    cluster.crash(1)
    cluster.silence(silent)
    cluster.run(60)
    assert cluster.going()
    assert cluster.causes()[-1] == "agent-hung"
    assert len(cluster.pages()) == 2, "of the crash, and of an agent that a restart did not help"


def test_a_node_lost_a_week_after_another_is_news() -> None:
    cluster = Simulated(nodes=24, world=8, policy=Policy(evictions_per_hour=0))
    spare = cluster.spare()
    cluster.ports[spare] = ("refused", "refused", -1)
    cluster.silence(spare)
    cluster.run(7 * 86400)
    lost = cluster.node(0)
    cluster.ports[lost] = ("refused", "refused", -1)
    cluster.silence(lost)
    cluster.run(30)
    assert [page.revision for page in cluster.all(Page)].count(1) == 2


def test_one_nodes_silence_keeps_no_other_nodes_page_back() -> None:
    cluster = Simulated(nodes=8, world=4)
    lost = [cluster.node(0), cluster.node(1)]
    cluster.tell(Commanded(cluster.now, "silence", lost[0], "ann", "it flaps", cluster.now + 3600))
    for node in lost:
        cluster.ports[node] = ("refused", "refused", -1)
    cluster.silence(lost[0])
    cluster.run(10)
    assert cluster.pages() == set()
    cluster.silence(lost[1])
    cluster.run(10)
    assert cluster.pages()


def test_a_worker_that_gets_ready_after_it_was_stopped_is_stopped_again() -> None:
    cluster = Simulated(nodes=4)
    spare = cluster.spare()
    idle = next(worker for worker in cluster.workers if worker.node == spare)
    cluster.never_starts = {spare}
    cluster.tell(RankExited(cluster.now, JOB, -1, idle.id, spare, -1, idle.pid, 1, "exit 1"))
    start = next(action for action in cluster.all(StartWorker) if action.node == spare)
    cluster.command("drain", spare)
    cluster.actions.clear()
    cluster.tell(WorkerReady(cluster.now, JOB, start.worker, spare, start.gpu, 999))
    assert [(stop.worker, stop.pid) for stop in cluster.all(StopWorker)] == [(start.worker, 999)]


class SlowAtHome(Simulated):
    """Where ranks sit, no new standby gets ready."""

    def _answer(self, action: Action) -> None:
        if not (isinstance(action, StartWorker) and self.sitting(action.node)):
            super()._answer(action)


def test_a_lost_rank_does_not_wait_for_a_start_at_home_while_a_spare_is_warm() -> None:
    cluster = SlowAtHome()
    for _ in range(2):
        cluster.crash(0)
        cluster.probed(cluster.node(0))
        cluster.run(9)
    assert cluster.going()


def test_what_is_not_done_is_told_once_per_reason() -> None:
    cluster = Simulated(policy=Policy(observe_only=True))
    for count in range(1, 100):
        cluster.finding(cluster.node(0), ecc(0, count))
        cluster.run(1)
    assert (len(cluster.all(Refusal)), len(cluster.all(Page))) == (1, 1)


def test_a_slow_rank_on_a_contended_host_is_given_time() -> None:
    cluster = Played()
    home = cluster.node(1)
    cluster.finding(home, Finding("host", "cpu-contention", "cpu", Health.WARNING, "processes wait", {}))
    cluster.outside = [0.1, 0.5, 0.1]
    for step in range(0, 200, 2):
        cluster.play(step, 0.25)
    assert cluster.evicted() == []
    for step in range(200, 300, 2):
        cluster.play(step, 0.25)
    assert cluster.evicted() == [home]


def test_stacks_are_taken_before_the_last_attempt_ends_every_rank() -> None:
    cluster = Simulated(nodes=3, world=3)
    cluster.advances = False
    cluster.crash(0)
    cluster.run(120)
    last = cluster.all(Resume)[-1]
    stacks = cluster.all(CollectStacks)
    assert [len(action.processes) for action in stacks] == [3]
    assert cluster.actions.index(stacks[0]) < cluster.actions.index(last)


def test_a_new_journal_gives_no_incident_the_number_of_one_in_the_logbook() -> None:
    """Its entry would be overwritten, and its page taken for one that was told already."""
    cluster = Simulated()
    cluster.tell(ControllerStarted(cluster.now, 1, "p", "r", incidents=41))
    cluster.crash(0)
    cluster.run(5)
    assert cluster.pages() == {"I-0042"}


def test_an_outcome_of_nobodys_action_changes_nothing() -> None:
    cluster = Simulated()
    before = cluster.state.to_bytes()
    cluster.tell(Outcome(cluster.state.now, "I-9999/evict/n1/1", ok=True, detail="late"))  # type: ignore[arg-type]
    assert cluster.state.to_bytes() == before
