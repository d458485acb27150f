"""The symptoms of a job: ranks that end, raise, stand still or are slow, and the wait for what says why."""

from msgspec.structs import replace

from sentinel.core import evidence, group, waits
from sentinel.core.detect.laggards import laggards
from sentinel.core.exits import SIGNAL, first_to_end, was_asked_to_end
from sentinel.core.learn import ending, starting
from sentinel.core.learn.breaking import break_off, give_way, left_as_announced
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, JobStage
from sentinel.core.state.timers import Timer
from sentinel.core.state.workers import Worker, WorkerStage
from sentinel.model.action import Probe
from sentinel.model.fact import (
    Fact,
    JobStalled,
    MembersProbed,
    NodeProbed,
    RankAtPace,
    RankExited,
    RankRaised,
    RankSlow,
)
from sentinel.model.ids import ActionId, Instant, NodeId
from sentinel.model.incident import Ask, Due, Incident
from sentinel.model.report import DONE, GONE, UNKNOWN_END

RECENT_FAILURES = 20
FAILED_LIMIT = 100


def exited(state: State, fact: RankExited, rules: Rules) -> None:
    """A worker's process ended; of one that was told to stop it is no news.

    Only its own node can tell, of a worker that this fact's own report began, too.
    """
    job, worker = state.worker(fact.job, fact.worker)
    if job is None or worker is None or worker.stage is WorkerStage.GONE or worker.node != fact.node:
        return
    gone = state.workers.dismiss(worker, state.now)
    if job.is_over:
        return
    if worker.stage is not WorkerStage.RANK:
        starting.ended(state, job, worker)
    elif fact.how == DONE:
        ending.done(state, job, gone, rules)
    else:
        _lost(state, job, fact, worker, rules)


def left_early(state: State, job: Job, rules: Rules) -> None:
    """Ranks have ended with 0 and the others did not: they are missed."""
    if job.is_over or job.want is not None:
        return
    for worker in [each for each in state.workers.gone(job.id) if each.is_done]:
        place = worker.rank, worker.id, worker.node, worker.gpu, worker.pid
        fact = RankExited(state.now, job.id, *place, job.generation, DONE)
        _lost(state, state.fresh(job), fact, worker, rules)


def _lost(state: State, job: Job, fact: RankExited, worker: Worker, rules: Rules) -> None:
    """A rank is gone, and the generation with it."""
    expected = state.nodes[worker.node].maintained is not None
    if expected and give_way(state, job):
        return
    job = break_off(state, job)
    if job.watched and job.want is not None and was_asked_to_end(fact, rules.policy):
        want = replace(job.want, gently=False)  # people were asked to restart the job: this end is theirs
        state.change(job, want=want)
        return
    _part(state, job, {worker.node})
    job = state.change(job, want=None, lacking=0)
    # Its own record may be a generation old.
    fact = replace(fact, rank=worker.rank, generation=job.generation)
    if not (expected or _follows(state, job)):
        _count_failure(state, job, fact, worker, rules)
    incident = _join_symptom(state, job, fact, worker.node, rules)
    if job.watched and not _shows_why(state, job, incident, rules):
        state.wait_for(Timer.BROKEN.of(incident.id), rules.policy.broken_s)
    else:
        state.set_deadline(Timer.GATHER.of(incident.id), rules.policy.gather_s)


def _follows(state: State, job: Job) -> bool:
    """Say whether a rank of a watched job ended after a peer: by that, or by its launcher."""
    return job.watched and sum(worker.rank >= 0 for worker in state.workers.gone(job.id)) > 1


def _shows_why(state: State, job: Job, incident: Incident, rules: Rules) -> bool:
    """Say whether it shows how a watched job broke: who was asked to end may not have been alone."""
    exits = [f for f in incident.evidence if isinstance(f, RankExited) and f.generation == job.generation]
    all_gone = len(exits) + state.workers.done(job.id) >= job.world
    first = first_to_end(exits, rules.policy, all_gone=all_gone)
    return all_gone or any(fact.how != UNKNOWN_END for fact in first)


def _count_failure(
    state: State, job: Job, fact: RankExited | JobStalled, worker: Worker, rules: Rules
) -> None:
    """Count a node's crash or hang once per event, however many of its ranks it was.

    A rank that was asked to end, for preemption or maintenance, that ends itself for its peers' sake, or
    that takes its work for done, accuses no node.
    """
    if isinstance(fact, RankExited) and _accuses_no_node(fact, job, rules):
        return
    node, job = state.nodes[worker.node], state.fresh(job)
    if any(_is_of(worker, job, at) for at, _, where, _ in job.failed if where == node.id):
        return
    note_failure(state, job, (fact.at, worker.rank, node.id, fact.generation), rules)


def note_failure(state: State, job: Job, failed: tuple[Instant, int, NodeId, int], rules: Rules) -> None:
    """Remember (when, rank, node, generation) of a failure, once, on the node's account and the job's."""
    if failed in state.fresh(job).failed:
        return
    node = state.nodes[failed[2]]
    state.change(node, failures=(*node.failures[-RECENT_FAILURES:], failed[0]))
    lately = [each for each in job.failed if each[0] > state.now - rules.policy.remembered_s]
    state.change(job, failed=(*lately[-FAILED_LIMIT:], failed))


def _is_of(worker: Worker, job: Job, failed: Instant) -> bool:
    """Say whether a worker's end belongs to an earlier failure of its node.

    There was no new step since, and it had been started before: what killed the one may have killed both,
    and a standby that got the seat only ended, or was told to have ended, later.
    """
    return failed > job.advanced and worker.since <= failed


def _accuses_no_node(fact: RankExited, job: Job, rules: Rules) -> bool:
    """Say so of one that was asked to, or ended by itself; a watched one that raises exits with a code."""
    by_itself = fact.how == DONE or (job.watched and not fact.how.startswith(SIGNAL))
    return by_itself or evidence.gave_up(fact) or was_asked_to_end(fact, rules.policy)


def _part(state: State, job: Job, nodes: set[NodeId]) -> None:
    """Leave an incident that was never acted on to itself: it explains no later symptom on other nodes."""
    known = group.of_job(state, job)
    if known is None or known.diagnosis is None or known.formed or _wants_for(job, known):
        return
    accused = {suspect.node for suspect in known.diagnosis.suspects if suspect.node}
    if accused and nodes and not accused & nodes and not any(map(_is_symptom, known.evidence)):
        state.await_no_evidence(known.id)
        state.change(known, topic=f"{known.diagnosis.cause}:{','.join(sorted(accused))}")


def _is_symptom(fact: Fact) -> bool:
    return isinstance(fact, RankExited | JobStalled) or (
        isinstance(fact, RankRaised) and fact.kind not in evidence.ECHOES
    )


def _join_symptom(
    state: State, job: Job, fact: RankExited | RankRaised, node: NodeId, rules: Rules
) -> Incident:
    """Join the job's incident with what the node's checks said shortly before."""
    topic = group.job_topic(job.id)
    if group.find(state, topic) is None and (shared := group.of_many(state, rules, node, fact)):
        state.change(shared, topic=topic)
    incident = group.join(state, topic, fact, job)
    waits.told_late(state, incident, fact)
    return evidence.recall(state, rules, incident, node, fact)


def _wants_for(job: Job, incident: Incident) -> bool:
    """Say whether the job's next generation is wanted for this incident's sake."""
    return job.want is not None and job.want.incident == incident.id


def raised(state: State, fact: RankRaised, rules: Rules) -> None:
    """A rank's training raised; echoes of another rank's end wait for the culprit."""
    job, worker = state.worker(fact.job, fact.worker)
    if job is None or worker is None or worker.rank < 0 or worker.node != fact.node:
        return
    if job.is_over or fact.generation > job.generation:
        return
    # The seat table says which rank a worker has, not its own report.
    if fact.rank < 0 or fact.generation >= worker.seated:
        fact = replace(fact, rank=worker.rank)
    known = group.of_job(state, job)
    if fact.kind == "user":
        state.change(worker, spent=True)  # the report may arrive after the process has ended
    if known and _is_known(known, fact):
        return
    if fact.generation != job.generation:
        if known and fact.kind == "user":
            evidence.add(state, known, fact)  # so that the rank's next exception is not taken for its first
        return
    if fact.kind in evidence.ECHOES and left_as_announced(state, job) and give_way(state, job):
        return
    job = break_off(state, job)
    if fact.kind not in evidence.ECHOES:
        _part(state, job, {worker.node})
    incident = _join_symptom(state, job, fact, worker.node, rules)
    _wants_anew(state, job, incident)
    if fact.kind in evidence.ECHOES:
        if Timer.GATHER.of(incident.id) not in state.deadlines:
            state.wait_for(Timer.BROKEN.of(incident.id), rules.policy.broken_s)
        return
    if not state.awaits_evidence(incident.id) or Timer.BROKEN.of(incident.id) in state.deadlines:
        state.set_deadline(Timer.GATHER.of(incident.id), rules.policy.gather_s)
    if _asks_its_node(fact):
        _ask(state, incident, "probe", worker.node)


def _wants_anew(state: State, job: Job, incident: Incident) -> None:
    """What was wanted for another incident's sake is wanted no more: this one is about what broke last."""
    if job.want is not None and not _wants_for(job, incident):
        state.change(state.fresh(job), want=None, lacking=0)


def _asks_its_node(fact: RankRaised) -> bool:
    """Of what all ranks raise for one's sake the node of that one has its checks asked."""
    of_all = fact.kind in evidence.WHOSE and fact.rank < len(fact.values)
    return not of_all or fact.rank in evidence.whose(fact)


def _ask(
    state: State,
    incident: Incident,
    what: str,
    target: str,
    attempt: int = 0,
    processes: tuple[tuple[NodeId, int, int], ...] = (),
) -> None:
    """Raise a question, once for each attempt; without a number, the next one."""
    incident = state.fresh(incident)
    asked = sum(action.id.split("/")[1] == what for action in incident.actions)
    waiting = sum(ask.what == what for ask in incident.asks)
    ask = Ask(what, target, attempt or asked + waiting + 1, processes)
    state.change(incident, asks=(*incident.asks, ask))


def _is_known(incident: Incident, fact: RankRaised) -> bool:
    raised = (f for f in incident.evidence if isinstance(f, RankRaised))
    return any((f.worker, f.generation) == (fact.worker, fact.generation) for f in raised)


def probed(state: State, fact: NodeProbed) -> None:
    """A node's immediate probe is complete: when all that were asked are, nothing more need be waited for."""
    for incident in state.open_incidents():
        exits = [f for f in incident.evidence if isinstance(f, RankExited)]
        if fact.node not in {f.node for f in exits} | _asked(incident):
            continue
        since = _lost_at(incident)
        incident = evidence.add(state, incident, fact)
        done = {f.node for f in incident.evidence if isinstance(f, NodeProbed) and f.at >= since}
        fresh = {f.node for f in exits if f.at >= since}
        if Timer.GATHER.of(incident.id) in state.deadlines and fresh <= done:
            group.ask_for(state, incident, Due.ANY)
            return


def _asked(incident: Incident) -> set[NodeId]:
    """Nodes whose checks were asked."""
    return {action.node for action in incident.actions if isinstance(action, Probe)}


def members_probed(state: State, fact: MembersProbed) -> None:
    """Nodes have measured together: what was found, or that nothing was, is evidence for who asked."""
    incident = state.open_incident(fact.incident)
    if incident is None or _is_answered(incident, fact.action):
        return
    state.deadlines.drop(Timer.MEMBERS.of(incident.id))
    incident = evidence.add(state, incident, fact)
    group.ask_for(state, incident, Due.CERTAIN if state.awaits_evidence(incident.id) else Due.ANY)


def _is_answered(incident: Incident, order: ActionId) -> bool:
    return any(isinstance(fact, MembersProbed) and fact.action == order for fact in incident.evidence)


def _lost_at(incident: Incident) -> float:
    """Return when the newest generation that this incident broke first lost a rank."""
    losses = [f for f in incident.evidence if isinstance(f, RankExited | RankRaised)]
    newest = max((f.generation for f in losses), default=0)
    return min((f.at for f in losses if f.generation == newest), default=0.0)


def stalled(state: State, fact: JobStalled, rules: Rules) -> None:
    """No rank steps: stacks first, or wait for a silent node, which says more than a stack."""
    job = state.jobs.get(fact.job)
    going = job is not None and job.stage in (JobStage.RUNNING, JobStage.FORMING)
    if job is None or fact.generation != job.generation or not going:
        return
    if left_as_announced(state, job) and give_way(state, job):
        return
    job = break_off(state, job)
    where = dict(zip((beat.rank for beat in fact.beats), fact.nodes, strict=True))
    ended = {beat.rank for beat in fact.beats if beat.state in GONE}
    behind = {
        where[rank]: rank for rank in laggards(fact.beats, job.world, rules.policy).ranks if rank in where
    }
    _part(state, job, set(behind))
    incident = group.join_job(state, job, fact)
    waits.told_late(state, incident, fact)
    _wants_anew(state, job, incident)
    for node in behind:
        # How one that has ended did that is told next, and whether it counts.
        worker = state.workers.at(job.id, behind[node]) if behind[node] not in ended else None
        if worker is not None:
            _count_failure(state, job, fact, worker, rules)
        incident = evidence.recall(state, rules, incident, node, fact)
    if len(fact.beats) < job.world:
        state.wait_for(Timer.BROKEN.of(incident.id), rules.policy.broken_s)
        group.ask_for(state, incident, Due.CERTAIN)
        return
    processes = tuple((n, beat.rank, beat.pid) for beat, n in zip(fact.beats, fact.nodes, strict=True))
    ask_for_stacks(state, incident, job, processes)
    state.set_deadline(Timer.STACKS.of(incident.id), rules.policy.stacks_s)


def ask_for_stacks(
    state: State,
    incident: Incident,
    job: Job,
    processes: tuple[tuple[NodeId, int, int], ...],
    of: str = "",
) -> None:
    """Ask what processes, (node, rank, pid) each, are doing; `of` tells a generation's stacks apart."""
    _ask(state, incident, "stacks", f"{job.id}{of}", job.generation, processes)


def waited(state: State, incident: Incident, timer: Timer, rules: Rules) -> None:
    """The time to wait for evidence is over, unless a rank's node has fallen silent meanwhile."""
    job = state.job_of(incident)
    if timer is not Timer.BROKEN and job is not None and _silent_seat(job, state):
        state.wait_for(Timer.BROKEN.of(incident.id), rules.policy.broken_s)
        group.ask_for(state, incident, Due.CERTAIN)
    else:
        group.ask_for(state, incident, Due.ANY)


def _silent_seat(job: Job, state: State) -> bool:
    return any(state.workers.is_hosted(job.id, node.id) and not node.lives for node in state.unheard())


def keeps_up(state: State, fact: RankAtPace) -> None:
    """A slow rank has caught up."""
    job = state.jobs.get(fact.job)
    if job is None or fact.generation != job.generation or job.straggler != fact.rank:
        return
    state.change(job, straggler=-1)
    for incident in state.open_incidents():
        if any(isinstance(each, RankSlow) and each.rank == fact.rank for each in incident.evidence):
            evidence.add(state, incident, fact)


def slow(state: State, fact: RankSlow, rules: Rules) -> None:
    """One rank holds up a healthy gang; while it does, no other is told to."""
    job = state.jobs.get(fact.job)
    if job is None or fact.generation != job.generation or job.stage is not JobStage.RUNNING:
        return
    if state.nodes[fact.node].maintained is not None or job.straggler >= 0:
        return
    since = state.now - rules.policy.remembered_s
    known = job.slow_places(fact.rank, since)
    lately = [each for each in job.slow if each[0] > since]
    state.change(job, slow=(*lately, (state.now, fact.rank, fact.node)), straggler=fact.rank)
    if len(known) > 1:
        return  # it was told already that this rank is slow wherever it sits
    about = group.of_job(state, job)
    # What is about a silent node may become another's incident, and explains no slow rank.
    apart = about is not None and group.waits_for_a_node(state, about)
    topic = group.pace_topic(job.id) if apart else group.job_topic(job.id)
    incident = group.join(state, topic, fact, job)
    incident = evidence.recall(state, rules, incident, fact.node, fact)
    group.ask_for(state, incident, Due.ANY)
