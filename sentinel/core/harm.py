"""What hurts a job: ranks that end, raise, stand still or are slow, and the wait for what says why."""

from msgspec.structs import replace

from sentinel.core import incidents, reform
from sentinel.core.conclude import conclude, stop_timers, waits
from sentinel.core.crew import WorkerStage
from sentinel.core.detect.laggards import laggards
from sentinel.core.rows import Job, JobStage
from sentinel.core.state import Rules, State
from sentinel.core.timers import Timer
from sentinel.model.action import Action, Probe, action_id
from sentinel.model.fact import Fact, JobStalled, NodeProbed, RankExited, RankRaised, RankSlow
from sentinel.model.ids import NodeId
from sentinel.model.incident import Incident
from sentinel.model.report import STOPPED_ITSELF

MEMORY_S = 86400.0
"""A rank that is slow, or keeps failing, on two nodes within a day has work that makes it so."""
RECENT_FAILURES = 20
FAILED_LIMIT = 100
SHELL_OFFSET = 128
"""A shell or a handler that passes a signal on exits with its number and this."""
ECHOES = frozenset({"collective", "evicted"})
"""Exceptions that only say that some other rank is gone, or that this one had to stop."""


def exited(state: State, fact: RankExited, rules: Rules) -> list[Action]:
    """A worker's process ended; of one that was told to stop it is no news.

    Only its own node can tell, of a worker that this fact's own report began, too.
    """
    job, worker = state.worker(fact.job, fact.worker)
    if job is None or worker is None or worker.stage is WorkerStage.GONE or worker.node != fact.node:
        return []
    was_rank = worker.stage is WorkerStage.RANK
    state.crew.dismiss(worker, state.now)
    if job.stage is JobStage.STOPPED:
        return []
    if not was_rank:
        return reform.refill(job, state, rules) + reform.retry(state, job, rules)
    job = reform.break_off(job, state)
    _part(state, job, {worker.node})
    job = state.change(job, pending="")
    fact = replace(
        fact, rank=worker.rank, generation=job.generation
    )  # its own record may be a generation old
    _count_failure(state, job, fact, worker.node, worker.rank, rules)
    incident = _hurt(state, job, fact, worker.node, rules)
    state.set_deadline(Timer.GATHER.of(incident.id), rules.policy.gather_s)
    return []


def _count_failure(
    state: State, job: Job, fact: RankExited | JobStalled, node: NodeId, rank: int, rules: Rules
) -> None:
    """Count a node's crash or hang once per generation, however many of its ranks it was.

    A rank that was asked to end, for preemption or maintenance, or that ends itself for its peers' sake,
    accuses no node.
    """
    if isinstance(fact, RankExited) and (fact.how in STOPPED_ITSELF or _was_asked_to_end(fact, rules)):
        return
    known = incidents.find(state, incidents.job_topic(job.id))
    same = (f for f in known.evidence if isinstance(f, RankExited)) if known else ()
    if not any(f.node == node and f.generation == fact.generation for f in same):
        failing, job = state.nodes[node], state.fresh(job)
        state.change(failing, failures=(*failing.failures[-RECENT_FAILURES:], fact.at))
        lately = [each for each in job.failed if each[0] > state.now - MEMORY_S]
        state.change(job, failed=(*lately[-FAILED_LIMIT:], (fact.at, rank, node, fact.generation)))


def _was_asked_to_end(fact: RankExited, rules: Rules) -> bool:
    asked = rules.policy.ending_signals
    return any(fact.how in (f"signal {number}", f"exit {SHELL_OFFSET + number}") for number in asked)


def _part(state: State, job: Job, nodes: set[NodeId]) -> None:
    """Leave an incident that was never acted on to itself: it explains no later harm on other nodes."""
    known = incidents.find(state, incidents.job_topic(job.id))
    if known is None or known.diagnosis is None or known.attempts or job.pending == known.id:
        return
    accused = {suspect.node for suspect in known.diagnosis.suspects if suspect.node}
    if accused and nodes and not accused & nodes and not any(map(_harms, known.evidence)):
        stop_timers(known, state)
        state.change(known, topic=f"{known.diagnosis.cause}:{','.join(sorted(accused))}")


def _harms(fact: Fact) -> bool:
    return isinstance(fact, RankExited | JobStalled) or (
        isinstance(fact, RankRaised) and fact.kind not in ECHOES
    )


def _hurt(state: State, job: Job, fact: Fact, node: NodeId, rules: Rules) -> Incident:
    """Join the job's incident with what the node's checks said shortly before."""
    incident = incidents.join(state, incidents.job_topic(job.id), fact, job)
    return incidents.recall(state, rules, incident, node, fact)


def raised(state: State, fact: RankRaised, rules: Rules) -> list[Action]:
    """A rank's training raised; echoes of another rank's end wait for the culprit."""
    job, worker = state.worker(fact.job, fact.worker)
    if job is None or worker is None or worker.rank < 0 or worker.node != fact.node:
        return []
    if job.stage is JobStage.STOPPED or fact.generation > job.generation:
        return []
    if fact.rank < 0 or fact.generation >= worker.seated:  # which rank a worker is we know; it only says so
        fact = replace(fact, rank=worker.rank)
    known = incidents.find(state, incidents.job_topic(job.id))
    if fact.kind == "user":
        state.change(worker, spent=True)  # heard perhaps after its end
    if known and _told(known, fact):
        return []
    if fact.generation != job.generation:
        if known and fact.kind == "user":
            incidents.add(state, known, fact)  # heard late: whoever raises there next is no counter-test
        return []
    job = reform.break_off(job, state)
    if fact.kind not in ECHOES:
        _part(state, job, {worker.node})
    incident = _hurt(state, job, fact, worker.node, rules)
    if job.pending != incident.id:
        state.change(job, pending="")
    if fact.kind in ECHOES:
        if Timer.GATHER.of(incident.id) not in state.deadlines:
            state.wait_for(Timer.BROKEN.of(incident.id), rules.policy.broken_s)
        return []
    if not waits(incident, state) or Timer.BROKEN.of(incident.id) in state.deadlines:
        state.set_deadline(Timer.GATHER.of(incident.id), rules.policy.gather_s)
    return _probe(incident, worker.node, fact)


def _told(incident: Incident, fact: RankRaised) -> bool:
    raised = (f for f in incident.evidence if isinstance(f, RankRaised))
    return any((f.worker, f.generation) == (fact.worker, fact.generation) for f in raised)


def _probe(incident: Incident, node: NodeId, fact: RankRaised) -> list[Action]:
    """Ask the node's checks now; a loss that is not finite is every rank's, one rank's node is asked."""
    asked = [action.node for action in incident.actions if isinstance(action, Probe)]
    mine = fact.values[fact.rank] if fact.kind == "nan" and fact.rank < len(fact.values) else float("nan")
    finite = mine == mine and abs(mine) != float("inf")
    if finite:
        return []
    return [Probe(action_id(incident.id, "probe", node, len(asked) + 1), incident.id, node)]


def probed(state: State, fact: NodeProbed, rules: Rules) -> list[Action]:
    """A node's immediate probe is complete: when all that were asked are, nothing more need be waited for."""
    for incident in list(state.open_incidents()):
        asked = {action.node for action in incident.actions if isinstance(action, Probe)}
        asked |= {f.node for f in incident.evidence if isinstance(f, RankExited)}
        if fact.node not in asked:
            continue
        incident = incidents.add(state, incident, fact)
        done = {f.node for f in incident.evidence if isinstance(f, NodeProbed) and f.at >= _hurt_at(incident)}
        fresh = {
            f.node for f in incident.evidence if isinstance(f, RankExited) and f.at >= _hurt_at(incident)
        }
        if Timer.GATHER.of(incident.id) in state.deadlines and fresh <= done:
            return conclude(incident, state, rules)
    return []


def _hurt_at(incident: Incident) -> float:
    """Return when the newest generation that this incident hurt first lost a rank."""
    hurt = [f for f in incident.evidence if isinstance(f, RankExited | RankRaised)]
    newest = max((f.generation for f in hurt), default=0)
    return min((f.at for f in hurt if f.generation == newest), default=0.0)


def stalled(state: State, fact: JobStalled, rules: Rules) -> list[Action]:
    """No rank steps: stacks first, or wait for a silent node, whose silence says more than a stack."""
    job = state.jobs.get(fact.job)
    going = job is not None and job.stage in (JobStage.RUNNING, JobStage.FORMING)
    if job is None or fact.generation != job.generation or not going:
        return []
    job = reform.break_off(job, state)
    where = dict(zip((beat.rank for beat in fact.beats), fact.nodes, strict=True))
    behind = {where[rank]: rank for rank in laggards(fact.beats, job.world).ranks if rank in where}
    _part(state, job, set(behind))
    incident = incidents.join(state, incidents.job_topic(job.id), fact, job)
    if job.pending != incident.id:
        state.change(job, pending="")
    for node in behind:
        _count_failure(state, job, fact, node, behind[node], rules)
        incident = incidents.recall(state, rules, incident, node, fact)
    if len(fact.beats) < job.world:
        state.wait_for(Timer.BROKEN.of(incident.id), rules.policy.broken_s)
        return conclude(incident, state, rules, certain=True)
    state.set_deadline(Timer.STACKS.of(incident.id), reform.STACKS_DEADLINE_S)
    processes = tuple((n, beat.rank, beat.pid) for beat, n in zip(fact.beats, fact.nodes, strict=True))
    return [reform.take_stacks(incident.id, job, processes)]


def waited(incident: Incident, timer: Timer, state: State, rules: Rules) -> list[Action]:
    """The time to wait for evidence is over, unless a rank's node has fallen silent meanwhile."""
    job = state.job_of(incident)
    if timer is not Timer.BROKEN and job is not None and _silent_seat(job, state):
        state.wait_for(Timer.BROKEN.of(incident.id), rules.policy.broken_s)
        return conclude(incident, state, rules, certain=True)
    return conclude(incident, state, rules)


def _silent_seat(job: Job, state: State) -> bool:
    silent = (node.id for node in state.nodes.values() if node.silent and node.cordon is None)
    return any(state.crew.is_hosted(job.id, node) for node in silent)


def slow(state: State, fact: RankSlow, rules: Rules) -> list[Action]:
    """One rank holds up a healthy gang."""
    job = state.jobs.get(fact.job)
    if job is None or fact.generation != job.generation or job.stage is not JobStage.RUNNING:
        return []
    since = state.now - MEMORY_S
    known = job.slow_places(fact.rank, since)
    lately = [each for each in job.slow if each[0] > since]
    state.change(job, slow=(*lately, (state.now, fact.rank, fact.node)))
    if len(known) > 1:
        return []  # it was told already that this rank is slow wherever it sits
    incident = incidents.join(state, incidents.job_topic(job.id), fact, job)
    incident = incidents.recall(state, rules, incident, fact.node, fact)
    return conclude(incident, state, rules)
