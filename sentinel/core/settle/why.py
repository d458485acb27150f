"""Why something is done or is not: what an object wants, has ordered and waits for, and who refuses."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

from sentinel.core import group
from sentinel.core.evidence import misstarts
from sentinel.core.page.left import MOST_NAMES, again
from sentinel.core.page.words import places
from sentinel.core.proofs import left, on_probation, progress
from sentinel.core.recovery import awaits
from sentinel.core.settle import generation
from sentinel.core.settle.guards import refuse_action
from sentinel.core.settle.seating import Cannot, Later, Seated, Wait, seat_more
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, JobStage, Node, Want
from sentinel.core.state.timers import Timer
from sentinel.core.waits import is_ray_away, ray_orders
from sentinel.model.counted import counted
from sentinel.model.ids import HOUR_S, IncidentId, Instant, JobId, NodeId
from sentinel.model.incident import Diagnosis, Due, Incident


class Reason(NamedTuple):
    """One line of the answer."""

    kind: str
    """`is | wants | ordered | waits | guard`"""
    text: str


def why(name: str, state: State, rules: Rules, now: Instant) -> list[Reason] | None:
    """Say all that decides about a node, a job or an incident at the moment; None for a name of nothing."""
    node, job = state.nodes.get(NodeId(name)), state.jobs.get(JobId(name))
    incident = state.incidents.get(IncidentId(name))
    if node is None and job is None and incident is None:
        return None
    reasons = [Reason("is", text) for text in _is(node, job, incident, state, rules)]
    reasons += [Reason("wants", text) for text in _wants(node, job, incident, state, rules)]
    return [
        *reasons,
        *_ordered(name, state),
        *_waits(name, job, incident, state, rules, now),
        *_guards(name, state, rules),
    ]


def _is(
    node: Node | None, job: Job | None, incident: Incident | None, state: State, rules: Rules
) -> Iterator[str]:
    if node is not None:
        yield from _node_is(node, state, rules)
    if job is not None:
        small = ", degraded" if job.is_degraded else ""
        yield f"{job.stage.value}{small}, generation {job.generation}, {state.ranks(job)}"
        yield from _stopped(job, state)
        yield from (line for each in state.incidents_of(job) for line in misstarts(each))
    if incident is not None:
        found, now = incident.about, incident.diagnosis
        yield f"{incident.stage.value}: {_accuses(found) if found else 'not diagnosed'}"
        if found:
            yield f"because: {found.why}"
        elif lines := misstarts(incident):
            yield from lines
        if found and now and now.mark != found.mark:
            yield f"what broke last in it: {_accuses(now)}"


def _stopped(job: Job, state: State) -> Iterator[str]:
    """Say why a job is stopped, and by whom."""
    if job.stage is JobStage.STOPPED and job.halted:
        yield f"stopped by {job.halted.removesuffix(': ')}"
    if (incident := group.stopped(state, job)) is not None and incident.diagnosis is not None:
        yield f"stopped for {incident.id}: {_accuses(incident.diagnosis)}: {incident.diagnosis.why}"


def _accuses(found: Diagnosis) -> str:
    return f"{found.cause}, blames {places(found) or 'nobody'}"


def _node_is(node: Node, state: State, rules: Rules) -> Iterator[str]:
    if node.labels:
        yield f"in {', '.join(f'{kind} {name}' for kind, name in node.labels.items())}"
    if node.left:
        yield "left: Sentinel was taken off it"
    if node.cordon is not None:
        why = f": {node.cordon.reason}" if node.cordon.reason else ""
        full = keeps_full(node, state, lambda _: "")
        empty = not full and (node.is_empty or not node.cordon.is_ours)
        yield f"cordoned by {node.cordon.said_by}{why}{', and empty' if empty else ''}"
    yield from filter(None, (progress(node), *left(node, rules.policy)))
    if node.preflight is not None:
        yield f"idle, and measured: {node.preflight.left[0]}"
    if node.preflight_at:
        yield f"pre-flight {(state.now - node.preflight_at) / HOUR_S:.1f} h ago {node.preflight_said}"
    if on_probation(node, state):
        yield f"on probation for {node.probation - state.now:.0f} s more: its first failure takes it out"
    if (kept := node.maintained) is not None:
        yield f"in maintenance, said by {kept.who}{kept.reason and f': {kept.reason}'}"
    if node.silent:
        yield f"silent, which is {node.about or 'no incident'}'s"
    findings = node.findings.values()
    yield from dict.fromkeys(f"{each.health.value}: {each.component}: {each.summary}" for each in findings)
    if node in state.unfit():
        yield "nothing is placed here until that is mended"
    events = (each for each in node.recent if each.finding.event)
    for each in events:
        ago = f"{state.now - each.happened:.0f} s ago"
        yield f"{ago}: {each.finding.component}: {each.finding.summary}"
    for incident in state.open_incidents():
        if incident.about is not None and node.id in incident.about.nodes:
            yield f"blamed in {incident.id}: {incident.about.cause}"
    if node.id in state.silences:
        yield "silenced: nobody is paged about it"
    if node.usable and not node.findings:
        yield f"usable, but no worker starts here: {node.start_error}" if node.shunned else "in use"


def _wants(
    node: Node | None, job: Job | None, incident: Incident | None, state: State, rules: Rules
) -> Iterator[str]:
    if node is not None and node.cordon is not None and node.cordon.is_ours and not node.is_empty:
        yield "to be emptied, when its ranks have left" if node.cordon.gently else "to be emptied"
    if node is not None and node.lacks_telling:
        failed = (
            f"; {counted(node.outside.tries, 'try')} failed: {node.outside.why}" if node.outside.tries else ""
        )
        yield f"the scheduler to know that it is {node.to_scheduler}{failed}"
    if job is not None and (want := generation.wanted(job, state)) is not None:
        yield _want(want)
    if node is not None and (full := keeps_full(node, state, partial(leaves, state=state, rules=rules))):
        yield f"to be empty: {full}"
    if job is not None and (lacks := needs(state, job, rules)):
        yield f"needs {lacks}"
    if job is not None and (small := keeps_small(job, state, rules)):
        yield f"all of its ranks, and waits for {small}"
    remedy = rules.remedy_of(incident) if incident is not None else None
    done = (
        incident is not None and (over := state.job_of(incident)) and group.stopped(state, over) == incident
    )
    if incident is not None and remedy is not None and not (done or group.has_recovered(state, incident)):
        yield f"{remedy.value}, as its runbook says"


def _want(want: Want) -> str:
    how = ", ".join(
        text
        for text, holds in (
            (f"without {', '.join(want.replace)}", want.replace),
            ("elsewhere", want.elsewhere),
            ("to repeat the failed step", want.replay),
            ("at a step boundary", want.gently),
        )
        if holds
    )
    return f"another generation{how and f' {how}'}, for {want.incident}"


def _ordered(name: str, state: State) -> Iterator[Reason]:
    """Give what was ordered and has no outcome yet; `incident/kind/target/attempt` names the object."""
    for action in state.unfinished.values():
        about = {getattr(action, field, None) for field in ("node", "job", "incident")}
        if name in about:
            yield Reason("ordered", f"{action.id}: no outcome yet")


def _waits(
    name: str, job: Job | None, incident: Incident | None, state: State, rules: Rules, now: Instant
) -> Iterator[Reason]:
    for deadline, at in sorted(state.deadlines.items(), key=lambda each: each[1]):
        timer, *whom = deadline.split("/")
        if name in whom and timer != Timer.SILENCE:
            yield Reason("waits", f"for {Timer(timer).waits}, {max(0.0, at - now):.1f} s more")
    over = job or (state.job_of(incident) if incident is not None else None)
    if (
        over is not None
        and over.stage is JobStage.STOPPED
        and (job or group.stopped(state, over) == incident)
    ):
        yield Reason("waits", f"for people: {again(over)} submits it again")
    if job is not None and job.lacking:
        yield Reason("waits", f"for {counted(job.lacking, 'worker')} to be warm")
    if incident is not None and is_ray_away(state) and any(ray_orders(state, incident)):
        yield Reason("waits", "for Ray, which can't be asked: what was ordered is done when it can")
    if incident is not None and (awaited := awaits(incident, state, rules)).what:
        left_s = max(0.0, awaited.until - now)
        yield Reason("waits", f"over when {awaited.what}" + (f": {left_s:.1f} s more" if left_s else ""))
    if incident is not None and incident.due is not Due.NOTHING:
        yield Reason("waits", "to be diagnosed")


def _guards(name: str, state: State, rules: Rules) -> Iterator[Reason]:
    if reason := refuse_action(state, rules):
        yield Reason("guard", reason)
    for (who, wanted), guard in state.refused.items():
        if name in (who, *wanted.split()):
            whose = f"{job} itself" if (job := who.removeprefix("upkeep-")) != who else who
            yield Reason("guard", f"{guard}: not done for {whose}: {wanted}")


def keeps_full(node: Node, state: State, leaving: Callable[[Job], str]) -> str:
    """Say what a cordoned node waits for until nothing of a job runs there; empty when nothing does.

    `leaving` says when a job's ranks leave, as `leaves` does: it is the same for all its nodes.
    """
    if node.cordon is None and node.maintained is None:
        return ""
    going = (job for job in state.jobs.values() if not job.is_over)
    return "; ".join(filter(None, (_held_by(job, node, state, leaving) for job in going)))


def _held_by(job: Job, node: Node, state: State, leaving: Callable[[Job], str]) -> str:
    ranks = sorted(worker.rank for worker in state.workers.sitting(node.id) if worker.job == job.id)
    if ranks:
        said = f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"
        return f"{job.id} has {said} there, {leaving(job)}"
    idle = len(state.workers.waiting(job.id, node.id))
    return f"{counted(idle, 'standby')} of {job.id} to be stopped" if idle else ""


def leaves(job: Job, state: State, rules: Rules) -> str:
    """Say when a job's ranks leave nodes that are to be emptied, or why they stay."""
    if reason := refuse_action(state, rules):
        return f"to stay: {reason}"
    if job.stage is not JobStage.RUNNING:
        return f"and is {job.stage.value}: ranks move while it runs, or when it forms"
    if job.watched:
        return "and Sentinel did not start it: they leave when it is started again elsewhere"
    match generation.plan(job, Want(job.upkeep, gently=True), state, rules).seats:
        case Cannot(reason=reason):
            return f"to stay: {reason}"
        case Later(first=first):
            return f"and what is free is kept for {first}"
        case Wait(lacking=lacking):
            return f"to leave when elsewhere {counted(lacking, 'worker')} {_are(lacking)} warm"
        case Seated(seats=seats) if len(seats) < job.world:
            return f"to leave at the next step boundary: {_goes_on(job, len(seats))}"
    return "to leave at the next step boundary"


def shrunk(before: Mapping[JobId, Job], state: State) -> str:
    """Say which jobs go on with fewer ranks than a moment ago; empty for none."""
    known = (job for job in state.jobs.values() if not job.is_over and job.id in before)
    jobs = (job for job in known if job.world < before[job.id].world)
    return "; ".join(_goes_on(job, job.world) for job in jobs)


def resubmitted(before: Mapping[JobId, Job], state: State, rules: Rules) -> str:
    """Say which jobs were over a moment ago and start again; empty for none."""
    over = {name for name, job in before.items() if job.is_over}
    jobs = (job for job in state.jobs.values() if job.id in over and not job.is_over)
    return "; ".join(f"{job.id} starts again, and needs {needs(state, job, rules)}" for job in jobs)


def _goes_on(job: Job, world: int) -> str:
    return f"{job.id} goes on with {world} of {job.wanted} ranks: no spare is fit"


def _are(many: int) -> str:
    return "is" if many == 1 else "are"


def keeps_small(job: Job, state: State, rules: Rules) -> str:
    """Say what a degraded job waits for until it has all its ranks; empty when it has, or is on its way."""
    if not job.is_degraded or job.stage is JobStage.FORMING:
        return ""
    if reason := refuse_action(state, rules):
        return f"permission: {reason}"
    if job.stage is not JobStage.RUNNING:
        return f"a step: it is {job.stage.value}"
    if job.watched:
        return "whoever starts it to give it more ranks"
    match seat_more(state, job, rules.policy):
        case Wait(lacking=lacking):
            return f"{counted(lacking, 'worker')} to be warm"
        case Seated():
            return "the next step boundary"
    return f"room: it finds {state.room}, and none is free and fit"


def needs(state: State, job: Job, rules: Rules) -> str:
    """Say what a job that does not train waits for; empty when it trains, forms, or was stopped."""
    if job.stage not in (JobStage.WAITING, JobStage.BROKEN):
        return ""
    if blocked := state.held if job.starts else refuse_action(state, rules):
        return f"permission: {blocked}"
    if job.watched:
        return "to be started again" if job.generation else "its ranks, which somebody else starts"
    here = state.usable_gpus()
    if here < job.world and not state.workers.has(job.id):
        return f"{counted(job.world, 'GPU')}, and finds {state.room}"
    about = (line for each in state.incidents_of(job) for line in misstarts(each)[:MOST_NAMES])
    why = "".join(f"; {line}" for line in about)
    match generation.plan(job, job.want or Want(job.upkeep), state, rules).seats:
        case Cannot(reason=reason):
            return f"a place: {reason}{why}"
        case Later(first=first):
            return f"its turn: {first} is seated first"
        case Wait(lacking=lacking):
            return f"{counted(lacking, 'worker')}{why}"
    return why.removeprefix("; ")
