"""Forming a job's next generation: seats, the workers that it still needs, and those that it leaves."""

from collections.abc import Iterable, Iterator

from sentinel.core.crew import Worker, WorkerStage, changes
from sentinel.core.evict import refuse_action, refuse_start
from sentinel.core.rows import Job, JobStage
from sentinel.core.seating import Cannot, Room, Seated, Wait, missing_standbys, seat
from sentinel.core.state import Rules, State
from sentinel.core.timers import Timer
from sentinel.model.action import (
    Action,
    CollectStacks,
    Evict,
    Refusal,
    Resume,
    Seat,
    StartWorker,
    StopWorker,
    action_id,
)
from sentinel.model.ids import IncidentId, NodeId, WorkerId
from sentinel.model.incident import Incident, Stage

STACKS_DEADLINE_S = 1.5
"""py-spy needs 0.1 to 0.5 s a process on a busy machine; recovery does not wait longer."""
LOOK_AGAIN_S = 2.0
"""A job that waits for workers looks so often whether they are still coming."""


def refuse(incident: Incident, state: State, wanted: str, reason: str) -> Refusal:
    """Record what is not done, and why."""
    state.refusals += 1
    return Refusal(action_id(incident.id, "refusal", "policy", state.refusals), incident.id, wanted, reason)


def upkeep(job: Job, state: State) -> Incident:
    """Stand in for an incident where work is done for no incident's sake."""
    return Incident(IncidentId(f"upkeep-{job.id}"), state.now, job=job.id)


def resume(
    incident: Incident,
    job: Job,
    state: State,
    rules: Rules,
    *,
    replace: Iterable[int] = (),
    elsewhere: bool = False,
    graceful: bool = False,
    replay: bool = False,
) -> Iterator[Action]:
    """Form the next generation, or start what it still needs and wait, or say why it can't be.

    `graceful`: the running generation goes on until the next one can take over at a step boundary.
    """
    incident, job, named = state.fresh(incident), state.fresh(job), frozenset(replace)
    ranks = named if graceful else named | {worker.rank for worker in state.crew.spent(job.id)}
    if not graceful:
        job = break_off(job, state)
    if incident.attempts >= rules.policy.resume_attempts:
        yield refuse(incident, state, f"resume {job.id}", f"{incident.attempts} attempts brought no new step")
        return
    plan = _plan(job, state, ranks, named if elsewhere else frozenset())
    job = state.change(job, pending=incident.id)
    match plan:
        case Cannot(reason=reason):
            yield refuse(incident, state, f"resume {job.id}", reason)
        case Wait(start=start, lacking=lacking):
            job = state.change(job, lacking=lacking)
            state.set_deadline(Timer.REFILL.of(job.id), LOOK_AGAIN_S)  # whom it waits for may go
            given_up = (state.crew.at(job.id, rank) for rank in sorted(ranks))
            yield from retire(incident.id, job, state, list(filter(None, given_up)))
            yield from (start_worker(incident.id, job, state, room) for room in start)
        case Seated(seats=seats):
            yield from _form(incident, job, state, rules, seats, graceful=graceful, replay=replay)


def _plan(job: Job, state: State, ranks: frozenset[int], elsewhere: frozenset[int]) -> Seated | Wait | Cannot:
    """Move ranks elsewhere only where that costs no rank its place."""
    if elsewhere:
        places = ((rank, state.crew.at(job.id, rank)) for rank in sorted(elsewhere))
        moved = [f"{rank}@{worker.node}" for rank, worker in places if worker]
        fresh = [place for place in moved if place not in job.avoid]
        job = state.change(job, avoid=(*job.avoid, *fresh))
    plan = seat(state, job, ranks)
    if job.avoid and (isinstance(plan, Cannot) or (isinstance(plan, Seated) and len(plan.seats) < job.world)):
        plan = seat(state, state.change(job, avoid=()), ranks)
    return plan


def _form(
    incident: Incident,
    job: Job,
    state: State,
    rules: Rules,
    seats: tuple[Seat, ...],
    *,
    graceful: bool,
    replay: bool,
) -> Iterator[Action]:
    before = state.crew.seats(job.id)
    running = tuple(seat.worker for seat in before if seat) if graceful else ()
    left, taken = changes(before, seats)
    if graceful and not (left or taken):
        state.change(job, pending="")  # whoever was to leave may stay
        return
    moved = {seat.worker for seat in taken}
    gone = [state.crew.workers[job.id, s.worker] for s in left if s.worker not in moved]
    stops = retire(incident.id, job, state, gone)
    state.change(incident, attempts=state.fresh(incident).attempts + 1)
    job = state.change(
        job,
        generation=job.generation + 1,
        stage=JobStage.FORMING,
        pending="",
        world=len(seats),
        avoid=(),
    )
    state.crew.form(job.id, job.generation, seats)
    first = job.high_step < 0  # nothing was ever trained: compilation and data set-up may take long
    state.set_deadline(job.deadline(), rules.policy.slow_phase_s if first else rules.policy.resume_timeout_s)
    name = action_id(incident.id, "resume", job.id, job.generation)
    form = Resume(name, incident.id, job.id, job.generation, seats, replay, running, job.skip)
    yield from (form, *stops) if graceful else (*stops, form)


def break_off(job: Job, state: State) -> Job:
    """The present generation is over, if there was one."""
    state.deadlines.drop(job.deadline())
    return state.change(job, stage=JobStage.BROKEN if job.generation else JobStage.WAITING)


def retire(incident: IncidentId, job: Job, state: State, workers: Iterable[Worker]) -> list[Action]:
    """Stop worker processes that lost their place; their exit is no news."""
    actions: list[Action] = []
    for worker in workers:
        if worker.stage is not WorkerStage.GONE:
            state.crew.dismiss(worker, state.now)
            name = action_id(incident, "stop-worker", worker.id, 1)
            actions.append(StopWorker(name, incident, job.id, worker.id, worker.node, worker.pid))
    return actions


def take_stacks(
    incident: IncidentId, job: Job, processes: Iterable[tuple[NodeId, int, int]], of: str = ""
) -> CollectStacks:
    """Ask what processes, (node, rank, pid) each, are doing, before anything is killed.

    `of` tells the stacks of one generation apart.
    """
    name = action_id(incident, "stacks", f"{job.id}{of}", job.generation)
    return CollectStacks(name, incident, tuple(processes), STACKS_DEADLINE_S)


def start_worker(incident: IncidentId, job: Job, state: State, room: Room) -> StartWorker:
    """Start one warm standby."""
    job = state.change(job, born=state.fresh(job).born + 1)
    name = f"w{job.born}-{job.journal}" if job.journal else f"w{job.born}"
    worker = state.add(Worker(WorkerId(name), room.node, gpu=room.gpu, since=state.now, job=job.id))
    action = action_id(incident, "start-worker", worker.id, 1)
    return StartWorker(action, incident, job.id, worker.id, room.node, room.gpu, job.generation)


def refill(job: Job, state: State, rules: Rules) -> list[Action]:
    """Start the standbys that a job misses; never while it recovers, so that recovery has the machine."""
    job = state.fresh(job)
    if job.stage is not JobStage.RUNNING or refuse_action(state, rules):
        return []
    name = upkeep(job, state).id
    return [start_worker(name, job, state, room) for room in list(missing_standbys(state, job))]


def starts(job: Job, state: State) -> bool:
    """Say whether a job is only being started: nothing has gone wrong with it yet."""
    waits = job.stage is JobStage.WAITING and not job.pending
    return job.high_step < 0 and (waits or job.pending == upkeep(job, state).id)


def retry(state: State, job: Job, rules: Rules) -> list[Action]:
    """Resume a job that waited for workers, nodes or permission; to start one is no remedy."""
    job = state.fresh(job)
    if not job.pending or (refuse_start(state) if starts(job, state) else refuse_action(state, rules)):
        return []
    known = state.incidents.get(IncidentId(job.pending))
    waiting = upkeep(job, state) if known is None or known.stage is Stage.RESOLVED else known
    graceful = job.stage is JobStage.RUNNING
    actions = list(resume(waiting, job, state, rules, graceful=graceful))
    formed = any(isinstance(action, Resume) for action in actions)
    return [*actions, *leave(waiting, state)] if formed else actions


def look_after(state: State, job: Job, rules: Rules) -> list[Action]:
    """Go on forming a job that waits, or else give it the standbys that it misses."""
    return retry(state, job, rules) or refill(job, state, rules)


def leave(incident: Incident, state: State) -> Iterator[Evict]:
    """Empty the nodes that this incident cordoned and has not emptied yet."""
    told = {action.node for action in incident.actions if isinstance(action, Evict)}
    why = incident.diagnosis.why if incident.diagnosis else ""
    for node in state.nodes.values():
        cordon = node.cordon
        if cordon is not None and cordon.by == incident.id and node.id not in told:
            name = action_id(incident.id, "evict", node.id, 1)
            yield Evict(name, incident.id, node.id, f"{cordon.reason}: {why}")


def sweep(state: State, node: NodeId) -> list[Action]:
    """Stop what a node that was away may still run: its workers' places were given away meanwhile."""
    return [
        end(job, state, worker)
        for job in state.jobs.values()
        for worker in state.crew.of(job.id)
        if worker.node == node and worker.stage is WorkerStage.GONE
    ]


def end(job: Job, state: State, worker: Worker) -> StopWorker:
    """Stop a worker that is gone as far as its job is concerned."""
    by = upkeep(job, state).id
    attempt = max(2, job.generation + 1) if worker.pid else 0  # 1 is that of `retire`
    name = action_id(by, "stop-worker", worker.id, attempt)
    return StopWorker(name, by, job.id, worker.id, worker.node, worker.pid)


def forget_gone(job: Job, state: State, rules: Rules) -> None:
    """Drop workers that are gone for so long that no action still means them.

    Those of a silent node are kept: nobody saw them go, and they are stopped when it is heard again.
    """
    since = state.now - rules.policy.action_timeout_s
    for worker in state.crew.gone(job.id):
        if worker.since < since and worker.rank < 0 and not state.nodes[worker.node].silent:
            state.crew.forget(worker)
