"""What a job lacks: its next generation, the workers for it, standbys; and who is to leave."""

from collections.abc import Iterator
from dataclasses import dataclass

from sentinel.core.settle.guards import No, refuse_action
from sentinel.core.settle.orders import refuse, start_worker, stop_again, stop_worker
from sentinel.core.settle.seating import Cannot, Later, Seated, Wait, missing_standbys, seat, seat_more
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, JobStage, Want
from sentinel.core.state.timers import Timer
from sentinel.core.state.workers import changes
from sentinel.core.waits import ACTIONS
from sentinel.model.action import RestartJob, Resume, Seat, StopJob, action_id
from sentinel.model.decision import Awaited, Decision, Kept
from sentinel.model.ids import IncidentId, NodeId


def settle(job: Job, state: State, rules: Rules) -> Iterator[Decision]:
    """Give what is missing."""
    if job.halted and not job.is_over:
        who = IncidentId(f"operator-{job.id}")
        yield StopJob(action_id(who, "stop-job", job.id, int(job.stopped_at * 1000)), who, job.id, job.halted)
        return
    yield from (stop_again(job, worker) for worker in state.workers.to_stop(job.id))
    if job.is_over:
        return
    no = state.held if job.starts else refuse_action(state, rules)
    if no:
        yield from _refused(job, state, no)
        return
    want = wanted(job, state)
    if job.watched:
        yield from _restart(job, want, state) if want else ()
        return
    planned: list[Decision] = []
    if not is_waiting(job, state):
        planned += _next(job, want, state, rules) if want else _grow(job, state, rules)
    yield from planned
    if not (planned or refuse_action(state, rules)):
        yield from _leave(job, state)
        yield from _refill(job, state)


def wanted(job: Job, state: State) -> Want | None:
    """Say how the job's next generation is wanted, for an incident's sake or for nobody's.

    While some ranks are done and the others about to be, nobody moves.
    """
    ending = state.workers.done(job.id) > 0
    if job.want is not None:
        return None if ending and job.want.gently else job.want
    if job.watched:
        return None  # a watched job's ranks are seated by who starts them
    if job.stage is JobStage.WAITING and Timer.PLACE.of(job.id) not in state.deadlines:
        return Want(job.upkeep) if state.workers.has(job.id) or state.usable_gpus() >= job.world else None
    if job.stage is JobStage.BROKEN and not state.incidents_of(job):
        return Want(job.upkeep)  # its incident is over without a remedy, and the job is still broken
    if job.stage is JobStage.RUNNING and not ending and to_leave(job, state):
        return Want(job.upkeep, gently=True)
    return None


def is_waiting(job: Job, state: State) -> bool:
    """Say whether the job waits for workers, and it is not time to look whether they still come."""
    return job.lacking > 0 and Timer.REFILL.of(job.id) in state.deadlines


def to_leave(job: Job, state: State) -> list[NodeId]:
    """Nodes that are cordoned or in maintenance, and that the job has ranks on."""
    return [node.id for node in state.to_leave() if state.workers.is_hosted(job.id, node.id)]


def _refused(job: Job, state: State, reason: str) -> Iterator[Decision]:
    """Put on record that a human's drain is not done at the moment."""
    drained = (state.nodes[name] for name in to_leave(job, state))
    for node in drained:
        if node.cordon is not None and not node.cordon.is_ours:
            found = refuse(state, job.upkeep, f"drain {node.id}", No(ACTIONS, reason))
            yield from found
            if found:
                return


@dataclass(frozen=True, slots=True)
class Plan:
    """Who is to be seated, and whose places are given to others."""

    seats: Seated | Wait | Later | Cannot
    given_up: tuple[int, ...]
    """Ranks whose worker does not stay, though it could."""


def plan(job: Job, want: Want, state: State, rules: Rules) -> Plan:
    """Seat the next generation; ranks move elsewhere only where that costs none its place."""
    named = {w.rank for name in want.replace if (w := state.workers.get(job.id, name)) and w.rank >= 0}
    spent = (
        set() if want.gently else {worker.rank for worker in state.workers.spent(job.id) if worker.rank >= 0}
    )
    ranks = tuple(sorted(named | spent))
    left = (state.workers.get(job.id, name) for name in want.replace) if want.elsewhere else ()
    avoid = {worker.rank: worker.node for worker in left if worker and worker.rank >= 0}
    seats = seat(state, job, rules.policy, ranks, avoid)
    if avoid and (isinstance(seats, Cannot) or (isinstance(seats, Seated) and len(seats.seats) < job.world)):
        seats = seat(state, job, rules.policy, ranks, {})
    if isinstance(seats, Cannot) and not want.gently:  # who is to leave for maintenance is there until then
        there = [node.id for node in state.maintained() if not (node.silent or node.cordon or node.left)]
        seats = seat(state, job, rules.policy, ranks, {}, there) if there else seats
    return Plan(seats, ranks)


def _next(job: Job, want: Want, state: State, rules: Rules) -> Iterator[Decision]:
    known = state.open_incident(want.incident)
    by = known.id if known else job.upkeep
    planned = plan(job, want, state, rules)
    match planned.seats:
        case Cannot(reason=reason):
            yield from refuse(state, by, f"resume {job.id}", No("place", reason))
        case Later():
            pass
        case Wait() as wait:
            for worker in (state.workers.at(job.id, rank) for rank in planned.given_up):
                if worker is not None and worker.is_living:
                    yield stop_worker(by, job, worker)
            yield from _start(by, job, wait, rules)
        case Seated(seats=seats):
            yield from _form(by, job, want, seats, state)


def _restart(job: Job, want: Want, state: State) -> Iterator[Decision]:
    """Have a watched job started again, if a command does that; else it is people's."""
    known = state.incidents.get(want.incident)
    by = job.upkeep if known is None or known.is_over else known.id
    if want.gently and not (want.replace or to_leave(job, state)):
        yield Kept(by, job.id)  # whoever was to leave may stay
        return
    if reason := _keeps_down(job, want):
        guard = "boundary" if want.gently else "restart"
        yield from refuse(state, by, f"resume {job.id}", No(guard, reason))
        return
    cause = known.diagnosis.cause if known and known.diagnosis else ""
    avoid = tuple(sorted(state.unusable()))
    name = action_id(by, "restart-job", job.id, job.generation)
    yield RestartJob(name, by, job.id, job.generation, cause, avoid)


def _keeps_down(job: Job, want: Want) -> str:
    """Say why nobody but people starts a watched job again; empty where a command does."""
    if want.gently and job.restarts:
        return (
            f"{job.id} trains, and only a new start moves its ranks: end it when it suits, Sentinel starts it"
        )
    if want.gently:
        return f"{job.id} trains, and only a new start moves its ranks: start it again when it suits"
    if not job.restarts:
        return f"Sentinel did not start {job.id}, and no job.restart_command says how: start it again"
    if job.restarted == job.generation:
        return f"job.restart_command was run, and the ranks of {job.id} did not come: start it again"
    return ""


def _start(by: IncidentId, job: Job, wait: Wait, rules: Rules) -> Iterator[Decision]:
    """Start workers, of very many the first ones: who starts has a place in the next plan."""
    first = wait.start[: rules.policy.starts_at_once]
    for number, room in enumerate(first, job.born + 1):
        yield start_worker(by, job, room.node, room.gpu, number)
    yield Awaited(by, job.id, wait.lacking, more=len(first) < len(wait.start))


def _grow(job: Job, state: State, rules: Rules) -> Iterator[Decision]:
    """Grow back at a step boundary, when there is room; what has just come may not be all that comes."""
    comes = Timer.REFILL.of(job.id) in state.deadlines
    small = job.stage is JobStage.RUNNING and job.world < job.wanted and not state.workers.done(job.id)
    if not small or comes or state.usable_gpus() <= _held(state):
        return
    match seat_more(state, job, rules.policy):
        case Wait() as wait:
            yield from _start(job.upkeep, job, wait, rules)
        case Seated(seats=seats):
            yield from _form(job.upkeep, job, Want(job.upkeep, gently=True), seats, state)


def _held(state: State) -> int:
    """Count the GPUs that jobs hold; it is cheap to tell that there is no room for more."""
    going = (job for job in state.jobs.values() if not job.is_over and state.workers.seats(job.id))
    return sum(job.world for job in going)


def _form(by: IncidentId, job: Job, want: Want, seats: tuple[Seat, ...], state: State) -> Iterator[Decision]:
    """Order the next generation; one that takes over gently runs before anybody is stopped."""
    before = state.workers.seats(job.id)
    left, taken = changes(before, seats)
    if want.gently and not (left or taken):
        yield Kept(by, job.id)  # whoever was to leave may stay
        return
    moved = {seat.worker for seat in taken} if left else set()
    gone = (state.workers.rows[job.id, each.worker] for each in left if each.worker not in moved)
    stops = [stop_worker(by, job, worker) for worker in gone if worker.is_living]
    running = tuple(each.worker for each in before if each) if want.gently else ()
    name = action_id(by, "resume", job.id, job.generation + 1)
    form = Resume(name, by, job.id, job.generation + 1, seats, want.replay, running, job.skip)
    order: list[Decision] = [form, *stops] if want.gently else [*stops, form]
    yield from order


def _leave(job: Job, state: State) -> Iterator[Decision]:
    """Take idle workers off nodes that are to be left: they need no step boundary."""
    for node in state.to_leave():
        for worker in state.workers.waiting(job.id, node.id):
            yield stop_worker(job.upkeep, job, worker)


def _refill(job: Job, state: State) -> Iterator[Decision]:
    """Start the standbys that are missing; not while the job recovers, so that this has the machine."""
    if job.stage is JobStage.RUNNING and Timer.REFILL.of(job.id) not in state.deadlines:
        for number, room in enumerate(missing_standbys(state, job), job.born + 1):
            yield start_worker(job.upkeep, job, room.node, room.gpu, number)
