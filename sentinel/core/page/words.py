"""What a page says: the cause in one line, then the evidence, what is being done, and what is left."""

from collections.abc import Iterator
from hashlib import sha256

from sentinel.core.page.left import MOST_NAMES, left_for_people
from sentinel.core.page.severity import severity
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job
from sentinel.model.action import (
    Action,
    CollectStacks,
    Evict,
    Page,
    RestartAgent,
    RestartGcs,
    RestartJob,
    Resume,
    StopJob,
    action_id,
)
from sentinel.model.fact import DeadlinePassed, Fact, Outcome, RankRaised
from sentinel.model.ids import Seconds
from sentinel.model.incident import Diagnosis, Incident, Stage, Suspect
from sentinel.model.runbook import PageWhen, Remedy

TRACEBACK_LINES = 12
STAGES = {
    "diagnosed": "Diagnosed",
    "evicted": "Evicted",
    "new_step": "First step",
    "resolved": "Resolved",
}
"""Keys of `Incident.times` in their order, and what they are called in a page."""
FOR_PEOPLE = (Remedy.NONE, Remedy.STOP, Remedy.FREEZE)
"""Remedies that repair nothing by themselves."""
EARLIER_LIMIT = 200
"""Characters of why something was thought before."""
THREAD_LIMIT = 2500
"""Slack cuts a text block at 3,000 characters."""


def settle(incident: Incident, state: State, rules: Rules) -> Iterator[Page]:
    """Open or edit the incident's page, if what it says has changed.

    None is opened where the runbook does not page at all, or somebody silenced it.
    """
    diagnosis = incident.diagnosis
    if diagnosis is None:
        return
    left = left_for_people(incident, state, rules)
    grade = severity(incident, left, state, rules).value
    if digest(incident, left, grade) == incident.paged:
        return
    if not (incident.revision or _wakes(incident, state, rules)):
        return
    number = incident.revision + 1
    book = rules.runbooks.get(diagnosis.cause)
    alike = [each for each in incident.broke_of if each.cause == diagnosis.cause]
    where = ", ".join(dict.fromkeys(place for each in (diagnosis, *alike) if (place := places(each))))
    title = f"{book.title if book else diagnosis.cause}{where and f': {where}'}"
    body = "\n".join([*_body(incident, diagnosis, left), *_asked(incident, left, state, rules)])
    name, thread = action_id(incident.id, "page", "on-call", number), _thread(incident, number)
    stage = incident.stage.value
    yield Page(name, incident.id, number, title, body, stage, thread, diagnosis.cause, grade)


def digest(incident: Incident, left: tuple[str, ...], grade: str) -> str:
    """Tell whether a page would say the same: cause, suspects, stage, severity, what was done, what is left.

    Numbers count from the first step on: while a job recovers each would be an edit of its own.
    """
    found = incident.diagnosis
    done = [deed for action in incident.actions if (deed := _deed(action))]
    failed = [fact.action for fact in incident.evidence if isinstance(fact, Outcome) and not fact.ok]
    reached = [name for name in STAGES if name in incident.times]
    numbers = (reached, incident.steps_lost) if "new_step" in reached else ()
    said: tuple[object, ...] = (found and found.mark, incident.stage.value, done, failed)
    said += (incident.acked_by, numbers, left, grade, *waited(incident))
    if (found and found.shared) or incident.part_of:
        said += (str(found and found.shared), incident.part_of)
    return sha256(repr(said).encode(errors="replace")).hexdigest()[:16]


def _wakes(incident: Incident, state: State, rules: Rules) -> bool:
    assert incident.diagnosis is not None
    book = rules.runbooks.get(incident.diagnosis.cause)
    nodes = {s.node for s in incident.diagnosis.suspects if s.node}
    if _silenced(state, incident.diagnosis.cause) or (nodes and all(_silenced(state, n) for n in nodes)):
        return False
    if incident.stage is Stage.RESOLVED and incident.times["resolved"] < state.now:
        return False  # it was silenced all the time that it was open
    if book is None or book.page is PageWhen.AT_ONCE:
        return True
    failed = any(_failed(fact) for fact in incident.evidence)
    return book.page is PageWhen.IF_REMEDY_FAILS and failed


def _silenced(state: State, name: str) -> bool:
    return name in state.silences


def _failed(fact: Fact) -> bool:
    return isinstance(fact, DeadlinePassed) or (isinstance(fact, Outcome) and not fact.ok)


def places(diagnosis: Diagnosis) -> str:
    """Say where the suspects are: what they share, or else each place once."""
    if diagnosis.shared is not None:
        return str(diagnosis.shared)
    return ", ".join(sorted({whereabouts(suspect) for suspect in diagnosis.suspects} - {""}))


def whereabouts(suspect: Suspect) -> str:
    """Say where a suspect is: `node-7 gpu-3 (rank 29)`."""
    words = [str(suspect.node)] if suspect.node else []
    words += [f"gpu-{suspect.gpu}"] if suspect.gpu is not None else []
    rank = f"rank {suspect.rank}" if suspect.rank is not None else ""
    return f"{' '.join(words)} ({rank})" if words and rank else " ".join(words) or rank


def _body(incident: Incident, diagnosis: Diagnosis, left: tuple[str, ...]) -> list[str]:
    lines = earlier(incident)
    lines += [f"Cause: {diagnosis.cause} (confidence {diagnosis.confidence:.2f})", f"Why: {diagnosis.why}"]
    if diagnosis.shared is not None:
        blames = "what they share is to blame, and no one of them"
        lines.append(f"Shared: {diagnosis.shared}: {blames}{diagnosis.shared.doubt}")
    lines += [f"Part of {incident.part_of}, which tells the rest"] if incident.part_of else []
    lines += [f"Left: {line}" for line in left]
    lines += dict.fromkeys(f"Did: {done}" for action in incident.actions if (done := _deed(action)))
    failed = (fact for fact in incident.evidence if isinstance(fact, Outcome) and not fact.ok)
    lines += [f"Failed: {fact.action}: {fact.detail}" for fact in failed]
    lines += waited(incident)
    times = ((word, incident.times[name]) for name, word in STAGES.items() if name in incident.times)
    lines += [f"{word} {at - incident.opened:.1f} s after it was seen" for word, at in times]
    if incident.steps_lost is not None:
        lines.append(f"Steps lost: {incident.steps_lost}")
    return lines


def _asked(incident: Incident, left: tuple[str, ...], state: State, rules: Rules) -> Iterator[str]:
    """Say how the job does, who looks after it, and what the reader is asked to do."""
    for job in _jobs(incident, state)[:MOST_NAMES]:
        yield f"Job: {job.id} is {job.stage.value}, with {state.ranks(job)}"
    if incident.acked_by:
        yield f"Acknowledged by {incident.acked_by}"
    yield f"Asked of you: {_ask(incident, left, rules)}"


def _jobs(incident: Incident, state: State) -> list[Job]:
    """Give the jobs that it concerns: its own, else those on the nodes in evidence, else all."""
    if (own := state.job_of(incident)) is not None:
        return [own]
    named = dict.fromkeys(filter(None, (getattr(fact, "node", None) for fact in incident.evidence)))
    hosted = {worker.job for node in named for worker in state.workers.sitting(node)}
    return [job for job in state.jobs.values() if not job.is_over and (job.id in hosted or not named)]


def _ask(incident: Incident, left: tuple[str, ...], rules: Rules) -> str:
    if left:
        return "what is left, above"
    if incident.stage is Stage.RESOLVED:
        return "nothing"
    if rules.remedy_of(incident) in FOR_PEOPLE:
        return "to do what its runbook says"
    return "nothing, while Sentinel repairs it"


def earlier(incident: Incident) -> list[str]:
    """Say what people were told before, a line each: that stays, also when a better diagnosis is known."""
    lines: list[str] = []
    for paged in incident.earlier:
        found, number = paged.diagnosis, len(lines)
        blamed, after = places(found), paged.at - incident.opened
        what = f"{found.cause}{blamed and f', {blamed}'} ({after:.1f} s after it was seen)"
        lines.append(f"{'Then' if number else 'First'}: {what}: {found.why[:EARLIER_LIMIT]}")
    return lines


def waited(incident: Incident) -> list[str]:
    """Say what its repair had to wait for and how long, a line each."""
    lasted: dict[str, Seconds] = {}
    for wait in incident.waits:
        lasted[wait.what] = lasted.get(wait.what, 0.0) + wait.until - wait.since
    return [f"Waited {seconds:.1f} s while {what}" for what, seconds in lasted.items()]


def _deed(action: Action) -> str:
    match action:
        case Evict(node=node):
            return f"evict {node}"
        case Resume(generation=generation, seats=seats):
            return f"resume as generation {generation} with {len(seats)} ranks"
        case RestartJob(job=job):
            return f"run job.restart_command for {job}"
        case StopJob(reason=reason):
            return f"stop the job: {reason}"
        case RestartAgent(node=node):
            return f"restart the agent of {node}"
        case RestartGcs():
            return "restart the GCS"
        case _:
            return ""


def _thread(incident: Incident, number: int) -> str:
    """Details worth a reply in the thread, each told once: tracebacks and stacks."""
    if number == 1:
        raised = [f for f in incident.evidence if isinstance(f, RankRaised) and f.kind == "user"]
        lines = raised[-1].traceback.splitlines() if raised else []
        return _cut("\n".join(lines[-TRACEBACK_LINES:]))
    stacks = {action.id for action in incident.actions if isinstance(action, CollectStacks)}
    newest = incident.evidence[-1] if incident.evidence else None
    if isinstance(newest, Outcome) and newest.action in stacks:
        return _cut("\n\n".join(newest.data))
    return ""


def _cut(text: str) -> str:
    return text if len(text) <= THREAD_LIMIT else f"{text[:THREAD_LIMIT]}\n… the whole is in the logbook"
