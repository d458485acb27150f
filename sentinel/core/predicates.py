"""Named conditions that runbooks match by: what needs computing, from an incident's evidence."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

from sentinel.core.progress import laggards
from sentinel.core.state import JobStage, Rules, State
from sentinel.model.fact import (
    FindingReported,
    GcsLost,
    JobAdvanced,
    JobStalled,
    JournalFailed,
    NodeReached,
    NodeSilent,
    RankExited,
    RankRaised,
    RankSlow,
)
from sentinel.model.incident import Incident, Suspect

F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class Case:
    """An incident under diagnosis with all that may be asked about it."""

    incident: Incident
    state: State
    rules: Rules

    def all(self, noun: type[F]) -> Iterator[F]:
        """Evidence of one kind, oldest first."""
        return (fact for fact in self.incident.evidence if isinstance(fact, noun))

    def last(self, noun: type[F]) -> F | None:
        """Return the newest evidence of one kind."""
        return next((fact for fact in reversed(self.incident.evidence) if isinstance(fact, noun)), None)


@dataclass(frozen=True, slots=True)
class Match:
    """A condition that holds: who is suspected, and the sentence that says why."""

    suspects: tuple[Suspect, ...]
    why: str
    sure: float = 1.0
    """Multiplies the runbook's confidence."""


Predicate = Callable[[Case], Match | None]
SECOND_FAILURE = 2


def _suspect(fact: RankExited | RankRaised | RankSlow) -> Suspect:
    return Suspect(fact.node, fact.rank, fact.gpu)


def _newest(case: Case) -> int:
    """Return the generation that broke last in this incident: what broke earlier is repaired already."""
    hurt = (fact for fact in case.incident.evidence if isinstance(fact, RankExited | RankRaised | JobStalled))
    return max((fact.generation for fact in hurt), default=0)


def rank_exited(case: Case) -> Match | None:
    """Ranks' processes ended by themselves or were killed."""
    newest = _newest(case)
    exits = [fact for fact in case.all(RankExited) if fact.rank >= 0 and fact.generation == newest]
    if not exits:
        return None
    told = ", ".join(f"rank {e.rank} (pid {e.pid}) on {e.node} ended: {e.how}" for e in exits)
    return Match(tuple(map(_suspect, exits)), told)


def _stall(case: Case) -> JobStalled | None:
    stall = case.last(JobStalled)
    job = case.state.jobs.get(stall.job) if stall else None
    return stall if stall and job and stall.generation == job.generation else None


def laggard(case: Case) -> Match | None:
    """One or a few ranks hold up a gang that stands still."""
    stall = _stall(case)
    if stall is None:
        return None
    world = case.state.jobs[stall.job].world
    found = laggards(stall.beats, world)
    if not found.ranks or len(stall.beats) < world:
        return None
    where = dict(zip((beat.rank for beat in stall.beats), stall.nodes, strict=True))
    if any(case.state.nodes[where[rank]].silent for rank in found.ranks):
        return None  # its node's silence says more
    gpus = {beat.rank: beat.gpu for beat in stall.beats}
    suspects = tuple(Suspect(where[rank], rank, gpus[rank]) for rank in found.ranks)
    return Match(suspects, f"no step for {stall.stalled_s:.1f} s; {found.why}", found.sure)


def loader_stuck(case: Case) -> Match | None:
    """The rank that all wait for sits in its data loader."""
    found, stall = laggard(case), _stall(case)
    if found is None or stall is None:
        return None
    stuck = {beat.rank for beat in stall.beats if beat.phase == "data" and beat.state not in "Tt"}
    if not all(suspect.rank in stuck for suspect in found.suspects):
        return None
    return Match(found.suspects, f"{found.why}; it waits in its data loader", 1.0)


def all_loaders_stuck(case: Case) -> Match | None:
    """Every rank waits for data: what they share is slow."""
    stall = _stall(case)
    if stall is None or not stall.beats or len(stall.beats) < case.state.jobs[stall.job].world:
        return None
    running = all(beat.phase == "data" and beat.state not in "TtXZ" for beat in stall.beats)
    if not running or len(stall.beats) < SECOND_FAILURE:
        return None
    return Match((), f"all {len(stall.beats)} ranks wait in their data loaders for {stall.stalled_s:.1f} s")


def user_exception(case: Case) -> Match | None:
    """The training code itself raised."""
    newest = _newest(case)
    raised = [fact for fact in _raised(case) if fact.generation == newest]
    if not raised:
        return None
    first = raised[0]
    return Match((_suspect(first),), f"rank {first.rank} on {first.node} raised {first.error}")


def _raised(case: Case) -> list[RankRaised]:
    return [fact for fact in case.all(RankRaised) if fact.kind == "user"]


def _exception_pairs(case: Case) -> Iterator[tuple[RankRaised, RankRaised]]:
    """Exceptions of one type in two generations, the earlier one first."""
    for earlier, later in combinations(_raised(case), 2):
        if earlier.generation < later.generation and _type(earlier) == _type(later):
            yield earlier, later


def _type(fact: RankRaised) -> str:
    return fact.error.partition(":")[0]


def follows_the_code(case: Case) -> Match | None:
    """The same exception of the same rank at the same step on another node."""
    for earlier, later in _exception_pairs(case):
        same = (earlier.step, earlier.error, earlier.rank) == (later.step, later.error, later.rank)
        if same and earlier.node != later.node:
            told = f"{later.error} at step {later.step} on {earlier.node} and again on {later.node}"
            return Match((Suspect(rank=later.rank),), told)
    return None


def follows_the_node(case: Case) -> Match | None:
    """Another rank fails the same way on the node that the first was moved from, where that one does not."""
    for earlier, later in _exception_pairs(case):
        passed = all((f.rank, f.generation) != (earlier.rank, later.generation) for f in _raised(case))
        if earlier.node == later.node and earlier.rank != later.rank and passed:
            told = f"{earlier.node}: rank {earlier.rank} raised there, and after a move rank {later.rank}"
            return Match((Suspect(later.node, later.rank, later.gpu),), told)
    return None


def repeats_on_node(case: Case) -> Match | None:
    """Ranks of one node crash or hang again and again within the hour."""
    limit = case.rules.policy.crashes_per_hour
    hung = laggard(case)
    named = {getattr(fact, "node", None) for fact in case.incident.evidence}
    named |= {suspect.node for suspect in hung.suspects} if hung else set()
    for node in case.state.nodes.values():
        if len(node.failures) < limit or node.id not in named:
            continue
        recent = sum(at > case.state.now - 3600 for at in node.failures)
        if recent >= limit:
            told = f"{node.id}: crash or hang {recent} times within an hour"
            return Match((Suspect(node.id),), told)
    return None


def app_xid_repeats(case: Case) -> Match | None:
    """An application Xid came again on the same GPU within a day."""
    for fact in case.all(FindingReported):
        node = case.state.nodes.get(fact.node)
        if node is None:
            continue
        component = fact.finding.component
        times = [at for at, where in node.app_xids if where == component and at > case.state.now - 86400]
        if len(times) >= case.rules.policy.app_xids_per_day:
            told = f"{component} of {node.id}: application Xid {len(times)} times within a day"
            return Match((Suspect(node.id, gpu=gpu_of(component)),), told)
    return None


def gpu_of(component: str) -> int | None:
    """Return the index in a component such as `gpu-3`."""
    kind, _, index = component.partition("-")
    return int(index) if kind == "gpu" and index.isdigit() else None


def _reached(case: Case) -> Iterator[NodeReached]:
    """Newest look at each node that is silent now."""
    newest = {fact.node: fact for fact in case.all(NodeReached)}
    for fact in newest.values():
        node = case.state.nodes.get(fact.node)
        if node is not None and node.silent:
            yield fact


def _job_hurt(case: Case) -> bool:
    """Say whether the job lost a rank or stopped stepping in this incident, and has not recovered."""
    job = case.state.job_of(case.incident)
    going = job is not None and job.stage is JobStage.RUNNING
    hurt = (isinstance(fact, JobStalled | RankRaised | RankExited) for fact in case.incident.evidence)
    return not going and any(hurt)


def node_lost(case: Case) -> Match | None:
    """A node's agent and raylet are both gone though its network answers."""
    lost = [f for f in _reached(case) if (f.agent, f.raylet) == ("refused", "refused") and f.step < 0]
    if not lost or _mass_silence(case):
        return None
    told = ", ".join(f"{fact.node}: agent and raylet refuse connections" for fact in lost)
    return Match(tuple(Suspect(fact.node) for fact in lost), told)


def node_cut(case: Case) -> Match | None:
    """A node does not answer at all, and the job feels it."""
    cut = [fact for fact in _reached(case) if fact.agent == "timeout" and fact.raylet == "timeout"]
    if not cut or _mass_silence(case) or any(fact.step >= 0 for fact in cut):
        return None
    seated = [fact for fact in cut if case.state.job_on(fact.node)]
    if seated and not _job_hurt(case):
        return None
    told = ", ".join(f"{fact.node} answers on no door" for fact in cut)
    return Match(tuple(Suspect(fact.node) for fact in cut), told)


def _mass_silence(case: Case) -> bool:
    standing = case.state.standing()
    silent = sum(node.silent for node in standing)
    return silent >= SECOND_FAILURE and silent >= case.rules.policy.mass_silence * len(standing)


def control_cut(case: Case) -> Match | None:
    """Nodes are silent while their doors are open or training advances: it is us who are cut off."""
    if case.last(NodeSilent) is None:
        return None
    if _mass_silence(case):
        standing = case.state.standing()
        silent = sorted(node.id for node in standing if node.silent)
        return Match((), f"{len(silent)} of {len(standing)} nodes silent at once: {', '.join(silent)}")
    alive = [fact for fact in _reached(case) if fact.agent != "refused" and _lives(case, fact)]
    if not alive or _job_hurt(case):
        return None
    told = ", ".join(f"{fact.node} is silent, yet it answers or its ranks step" for fact in alive)
    return Match(tuple(Suspect(fact.node) for fact in alive), told)


def _lives(case: Case, fact: NodeReached) -> bool:
    """Say whether a silent node shows life: an open door, a rank's answer, or steps that need its ranks."""
    step = case.last(JobAdvanced)
    since = max((f.at for f in case.all(NodeSilent) if f.node == fact.node), default=fact.at)
    stepped = step is not None and step.at > since and case.state.job_on(fact.node) is not None
    return "ok" in (fact.agent, fact.raylet) or fact.step >= 0 or stepped


def agent_dead(case: Case) -> Match | None:
    """A node's agent is gone and the rest of the node is there."""
    refused = [fact for fact in _reached(case) if fact.agent == "refused"]
    dead = [fact for fact in refused if fact.raylet == "ok" or fact.step >= 0]
    if not dead:
        return None
    told = ", ".join(f"{fact.node}: its agent refuses connections, the rest of it answers" for fact in dead)
    return Match(tuple(Suspect(fact.node) for fact in dead), told)


def gcs_dead(case: Case) -> Match | None:
    """Ray's GCS does not answer."""
    lost = case.last(GcsLost)
    return Match((), f"the GCS at {lost.address} does not answer: {lost.detail}") if lost else None


def journal_failed(case: Case) -> Match | None:
    """The journal can't be written."""
    failed = case.last(JournalFailed)
    return Match((), f"the journal can't be written: {failed.detail}") if failed else None


def gang_broken(case: Case) -> Match | None:
    """Collectives failed on ranks that are all there, and the time to wait for a culprit is over."""
    raised = [fact for fact in case.all(RankRaised) if fact.generation == _newest(case)]
    waiting = f"broken/{case.incident.id}" in case.state.deadlines
    if not raised or waiting or any(fact.kind not in ("collective", "evicted") for fact in raised):
        return None
    known, job = case.incident.diagnosis, case.state.job_of(case.incident)
    is_over = job is not None and job.generation > _newest(case)
    if is_over and known is not None and known.cause != "gang-broken":
        return None  # that generation broke of the cause that is known
    if rank_exited(case) or laggard(case) or any(True for _ in _reached(case)):
        return None
    told = f"{len(raised)} ranks lost their peers, first rank {raised[0].rank} on {raised[0].node}"
    return Match((), f"{told}: {raised[0].error}")


def straggler(case: Case) -> Match | None:
    """One rank is slower outside collectives than its peers, step after step."""
    slow = case.last(RankSlow)
    if slow is None:
        return None
    told = (
        f"rank {slow.rank} on {slow.node} needs {slow.outside_s * 1000:.0f} ms outside collectives, "
        f"its peers {slow.peers_s * 1000:.0f} ms, for {slow.steps} steps"
    )
    return Match((_suspect(slow),), told)


def _nans(case: Case) -> list[RankRaised]:
    by_generation: dict[int, RankRaised] = {}
    for fact in case.all(RankRaised):
        if fact.kind == "nan":
            by_generation.setdefault(fact.generation, fact)
    return list(by_generation.values())


def _nan_ranks(fact: RankRaised) -> tuple[int, ...]:
    return tuple(rank for rank, loss in enumerate(fact.values) if loss != loss or abs(loss) == float("inf"))


def loss_nan(case: Case) -> Match | None:
    """The loss is not finite; whether data or hardware did it, a replay tells."""
    nans = _nans(case)
    if not nans:
        return None
    told = f"the loss of step {nans[-1].step} is not finite on rank {_nan_ranks(nans[-1])}"
    return Match((), told)


def nan_again_same(case: Case) -> Match | None:
    """Replaying the step on the same batch gave the same ranks' NaN."""
    nans = _nans(case)
    if len(nans) < SECOND_FAILURE:
        return None
    earlier, later = nans[-2], nans[-1]
    if earlier.step != later.step or _nan_ranks(earlier) != _nan_ranks(later):
        return None
    return Match((), f"step {later.step} gives the same NaN on replay: its batch is bad")


def nan_not_repeated(case: Case) -> Match | None:
    """The replayed step came out finite: the rank that had the NaN miscomputed."""
    nans, advanced = _nans(case), case.last(JobAdvanced)
    if len(nans) != 1 or advanced is None or advanced.at < nans[0].at:
        return None
    ranks = _nan_ranks(nans[0])
    job = case.state.jobs[nans[0].job]
    workers = dict(job.seated())
    suspects = tuple(Suspect(workers[r].node, r, workers[r].gpu) for r in ranks if r in workers)
    if len(ranks) != 1 or not suspects:
        return None
    return Match(suspects, f"step {nans[0].step} was NaN on rank {ranks[0]} and is finite on replay")


def desync(case: Case) -> Match | None:
    """A rank reports that collectives do not match between ranks."""
    for fact in case.all(RankRaised):
        text = fact.error.lower()
        if "mismatch" in text and "collective" in text:
            return Match((_suspect(fact),), f"rank {fact.rank}: {fact.error}")
    return None


PREDICATES: Mapping[str, Predicate] = {
    predicate.__name__: predicate
    for predicate in (
        rank_exited,
        laggard,
        loader_stuck,
        all_loaders_stuck,
        user_exception,
        follows_the_code,
        follows_the_node,
        repeats_on_node,
        app_xid_repeats,
        node_lost,
        node_cut,
        control_cut,
        agent_dead,
        gcs_dead,
        journal_failed,
        gang_broken,
        straggler,
        loss_nan,
        nan_again_same,
        nan_not_repeated,
        desync,
    )
}

NAMES = frozenset(PREDICATES)
