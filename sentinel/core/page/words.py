"""What a page says: the cause in one line, then the evidence, what is being done, and what is left."""

from collections.abc import Iterator
from hashlib import sha256

from sentinel.core import group
from sentinel.core.evidence import misstarts, recoveries, vouched
from sentinel.core.page.left import MOST_NAMES, again, left_for_people
from sentinel.core.page.severity import severity
from sentinel.core.recovery import awaits
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job
from sentinel.model.action import (
    Action,
    CollectStacks,
    Evict,
    Page,
    Ping,
    Probe,
    Refusal,
    RestartAgent,
    RestartGcs,
    RestartJob,
    Resume,
    StopJob,
    action_id,
)
from sentinel.model.counted import counted
from sentinel.model.fact import DeadlinePassed, Fact, JobAdvanced, Outcome, RankRaised
from sentinel.model.ids import Seconds
from sentinel.model.incident import Diagnosis, Incident, PagedDiagnosis, Suspect
from sentinel.model.outside import Whose, whose
from sentinel.model.report import AT_START
from sentinel.model.runbook import PageWhen, Runbook, Symptom
from sentinel.model.severity import Severity

TRACEBACK_LINES = 12
STAGES = {
    "diagnosed": "Diagnosed",
    "evicted": "Evicted",
    "new_step": "First step",
    "resolved": "Resolved",
}
"""Keys of `Incident.times` in their order, and what they are called in a page."""
EXCEPTION = {Symptom.RAISED}
"""What the cause of a first exception names, until it is known whom it follows."""
RESUMES_TOLD = 3
"""A job that was formed more often flaps: so many lines say no more than their number."""
EARLIER_LIMIT = 200
"""Characters of why something was thought before."""
DEEDS = (Evict, Resume, RestartJob, StopJob, RestartAgent, RestartGcs)
"""Actions of which a page tells."""
LOOKS = (CollectStacks, Page, Ping, Probe, Refusal)
"""Actions that repair nothing."""
UNSEEN_S = 1.0
"""What is seen within this is seen at once."""
THREAD_LIMIT = 2500
"""Slack cuts a text block at 3,000 characters."""


def settle(incident: Incident, state: State, rules: Rules) -> Iterator[Page]:
    """Open or edit the incident's page, if what it says has changed.

    None is opened where the runbook does not page at all, or somebody silenced it.
    """
    diagnosis = incident.about
    if diagnosis is None:
        return
    left = left_for_people(incident, state, rules)
    grade = severity(incident, left, state, rules).value
    if digest(incident, left, grade, state, rules) == incident.paged:
        return
    if not (incident.revision or _wakes(incident, state, rules)):
        return
    number = incident.revision + 1
    book = rules.runbooks.get(diagnosis.cause)
    blamed = where(incident)
    title = f"{title_of(incident, book)}{blamed and f': {blamed}'}"
    asked = _asked(incident, left, Severity(grade), state, rules)
    body = "\n".join([*_body(incident, diagnosis, left), *asked])
    name, thread = action_id(incident.id, "page", "on-call", number), _thread(incident, number)
    stage = incident.stage.value
    yield Page(name, incident.id, number, title, body, stage, thread, diagnosis.cause, grade)


def digest(incident: Incident, left: tuple[str, ...], grade: str, state: State, rules: Rules) -> str:
    """Tell whether a page would say the same: cause, suspects, stage, severity, what was done, what is left.

    Numbers count from the first step on: while a job recovers each would be an edit of its own.
    """
    found = incident.diagnosis
    done = [_deed(action) for action in incident.actions if isinstance(action, DEEDS)]
    failed = [fact.action for fact in incident.evidence if isinstance(fact, Outcome) and not fact.ok]
    reached = [name for name in STAGES if name in incident.times]
    numbers = (reached, incident.steps_lost, *broke_again(incident)) if "new_step" in reached else ()
    told = incident.about
    said: tuple[object, ...] = (told and told.mark, found and found.mark, incident.stage.value, done, failed)
    said += (acked(incident), numbers, left, grade, *waited(incident), _then(incident, state))
    said += tuple(when_over(incident, state, rules))
    said += incident.proofs
    if (told and told.shared) or incident.part_of:
        said += (str(told and told.shared), incident.part_of)
    return sha256(repr(said).encode(errors="replace")).hexdigest()[:16]


def _wakes(incident: Incident, state: State, rules: Rules) -> bool:
    assert incident.diagnosis is not None
    book = rules.runbooks.get(incident.diagnosis.cause)
    nodes = {s.node for s in incident.diagnosis.suspects if s.node}
    if _silenced(state, incident.diagnosis.cause) or (nodes and all(_silenced(state, n) for n in nodes)):
        return False
    if incident.is_over and incident.times["resolved"] < state.now:
        return False  # it was silenced all the time that it was open
    if book is None or book.page is PageWhen.AT_ONCE:
        return True
    failed = any(_failed(fact) for fact in incident.evidence)
    return book.page is PageWhen.IF_REMEDY_FAILS and failed


def _silenced(state: State, name: str) -> bool:
    return name in state.silences


def _failed(fact: Fact) -> bool:
    return isinstance(fact, DeadlinePassed) or (isinstance(fact, Outcome) and not fact.ok)


def title_of(incident: Incident, book: Runbook | None) -> str:
    """Say in a few words what it is about; of an exception also whether storage or network gave it."""
    found = incident.about
    if found is None or book is None:
        return found.cause if found else "not diagnosed"
    if {*book.symptoms} == EXCEPTION and (given := _given(incident, found)):
        return f"{given.value.capitalize()} gave a rank's code an error"
    return book.title


def _given(incident: Incident, found: Diagnosis) -> Whose | None:
    raised = [fact for fact in incident.evidence if isinstance(fact, RankRaised) and fact.kind == "user"]
    suspects = {(suspect.node, suspect.rank) for suspect in found.suspects}
    errors = (whose(fact.error) for fact in raised if (fact.node, fact.rank) in suspects)
    return next((who for who in errors if who.is_outside), None)


def places(diagnosis: Diagnosis) -> str:
    """Say where the suspects are: what they share, or else each place once."""
    if diagnosis.shared is not None:
        return str(diagnosis.shared)
    return ", ".join(sorted({whereabouts(suspect) for suspect in diagnosis.suspects} - {""}))


def where(incident: Incident) -> str:
    """Say where all the suspects are of what it is about, also of breaks that the job recovered from.

    While nothing is diagnosed it is where the evidence comes from.
    """
    if incident.about is None:
        named = (getattr(fact, "node", None) for fact in incident.evidence)
        return ", ".join(sorted({node for node in named if node}))
    if incident.about is not None and incident.about.shared is not None:
        return str(incident.about.shared)
    blamed = (sorted(map(whereabouts, found.suspects)) for found in incident.where)
    return ", ".join(dict.fromkeys(place for each in blamed for place in each if place))


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
    lines += also(incident)
    lines += [f"Part of {incident.part_of}, which tells the rest"] if incident.part_of else []
    lines += [f"Left: {line}" for line in left]
    lines += [f"Did: {done}" for done in _deeds(incident)]
    failed = (fact for fact in incident.evidence if isinstance(fact, Outcome) and not fact.ok)
    lines += [f"Failed: {fact.action}: {fact.detail}" for fact in failed]
    lines += incident.proofs
    lines += waited(incident)
    known = dict(incident.times)
    if "new_step" in known and (recovered := recoveries(incident)):
        known["new_step"] = min(known["new_step"], recovered[0][1])  # of its first break, whatever that was
    told = (name for name in STAGES if name in known and (diagnosis.is_known or name != "diagnosed"))
    times = ((STAGES[name], known[name]) for name in told)
    lines += [f"{word} {at - incident.opened:.1f} s after it was seen" for word, at in times]
    lines += [*stood_still(incident), *broke_again(incident)]
    if incident.steps_lost is not None:
        lines.append(f"Steps lost: {incident.steps_lost}")
    return lines


def _asked(
    incident: Incident, left: tuple[str, ...], grade: Severity, state: State, rules: Rules
) -> Iterator[str]:
    """Say how the job does, who looks after it, and what the reader is asked to do."""
    for job in _jobs(incident, state)[:MOST_NAMES]:
        ranks = "" if job.is_over else f", with {state.ranks(job)}"
        yield f"Job: {job.id} is {job.stage.value}{ranks}"
    if incident.acked_by:
        yield f"Acknowledged by {acked(incident)}"
    yield f"Asked of you: {_ask(incident, left, grade, state, rules)}{_then(incident, state)}"
    yield from when_over(incident, state, rules)


def acked(incident: Incident) -> str:
    """Say who has acknowledged it, and what they said with it."""
    return f"{incident.acked_by}{incident.acked_why and f': {incident.acked_why}'}"


def _jobs(incident: Incident, state: State) -> list[Job]:
    """Give the jobs that it concerns: its own, else those on the nodes in evidence, else all."""
    if (own := state.job_of(incident)) is not None:
        return [own]
    named = dict.fromkeys(filter(None, (getattr(fact, "node", None) for fact in incident.evidence)))
    hosted = {worker.job for node in named for worker in state.workers.sitting(node)}
    return [job for job in state.jobs.values() if not job.is_over and (job.id in hosted or not named)]


def _ask(incident: Incident, left: tuple[str, ...], grade: Severity, state: State, rules: Rules) -> str:
    """Say what to do and by when, as urgent as the page says that it is."""
    over = incident.is_over
    when = "now" if grade is Severity.CRITICAL and not over else "in working hours"
    if left:
        return f"what is left, above, {when}"
    repairs = not over and _repairs(incident, state)
    if grade is Severity.INFO:
        return "nothing, while Sentinel repairs it" if repairs else "nothing"
    found, about = incident.diagnosis, incident.about
    other = not over and found is not None and found.cause != (about and about.cause)
    what = f"what {f'the runbook of {found.cause}' if found and other else 'its runbook'} says"
    if over and (back := _taken_back(incident, state)):
        return f"nothing: {', '.join(back)} {'is' if len(back) == 1 else 'are'} in use again"
    if over:
        return f"nothing now; {when} {what}"
    if grade is Severity.CRITICAL or not repairs or _is_for_people(incident, rules) or misstarts(incident):
        return f"to do {what}, {when}"
    return f"nothing, while Sentinel repairs it; {when} {what}"


def _repairs(incident: Incident, state: State) -> bool:
    """Say whether anything is done about it, or was since it is called so: to look on is nothing."""
    called = [
        told.at for told in incident.diagnoses if incident.diagnosis and told.is_like(incident.diagnosis)
    ]
    since = max(called, default=state.now)
    done = (action for at, action in incident.deeds if at is None or at >= since)
    return group.forms(state, incident) or not all(isinstance(action, LOOKS) for action in done)


def _taken_back(incident: Incident, state: State) -> list[str]:
    """Name the nodes that were evicted for its sake, if each of them was taken back since."""
    out = dict.fromkeys(action.node for action in incident.actions if isinstance(action, Evict))
    back = [name for name in out if name in state.nodes and vouched(state.nodes[name], incident)]
    return [*back] if len(back) == len(out) else []


def _is_for_people(incident: Incident, rules: Rules) -> bool:
    remedy = rules.remedy_of(incident)
    return remedy is not None and remedy.is_for_people


def _then(incident: Incident, state: State) -> str:
    """Say how a job is started again that is stopped for its sake; empty for any other."""
    job = state.job_of(incident)
    return f", then {again(job)}" if job is not None and group.stopped(state, job) == incident else ""


def when_over(incident: Incident, state: State, rules: Rules) -> list[str]:
    """Say what an incident whose job trains again waits for, and until when, as a page counts time."""
    what, at = awaits(incident, state, rules)
    by = f": {at - incident.opened:.0f} s after it was seen" if at else ""
    return [f"Over when {what}{by}"] if what else []


def stood_still(incident: Incident) -> list[str]:
    """Say how long its job had made no step when it recovered first, if that began before it was seen."""
    since, step = next(iter(recoveries(incident)), (incident.opened, incident.opened))
    if (unseen := incident.opened - since) < UNSEEN_S:
        return []
    return [f"Made no step for {step - since:.1f} s, {unseen:.1f} s of them before it was seen"]


def broke_again(incident: Incident) -> list[str]:
    """Say of each further break that the job recovered from how long that took."""
    if not [fact for fact in incident.evidence if isinstance(fact, JobAdvanced)][1:]:
        return []
    opened, again = incident.opened, recoveries(incident)[1:]
    told = ((broke - opened, step - broke) for broke, step in again)
    return [
        f"Broke again {at:.1f} s after it was seen, and stepped {after:.1f} s later" for at, after in told
    ]


def earlier(incident: Incident) -> list[str]:
    """Say what people were told before, a line each: that stays, also when a better diagnosis is known."""
    return [
        f"{'Then' if number else 'First'}: {_told(told, incident)}"
        for number, told in enumerate(incident.earlier)
    ]


def also(incident: Incident) -> list[str]:
    """Say what else broke since, a line each, where what it is about matters more."""
    lines = [f"Also: {_told(told, incident)}" for told in incident.later]
    now, said = incident.diagnosis, (*incident.earlier, *incident.later)
    if now is None or now == incident.about or any(told.is_like(now) for told in said):
        return lines
    return [*lines, f"Also: {_found(now)}: {now.why[:EARLIER_LIMIT]}"]


def others(incident: Incident) -> list[str]:
    """Name each other cause that something was done for, or that is known now, if it blames others."""
    blamed = {node for found in incident.where for node in found.nodes}
    known = (each for each in (*incident.acted, incident.diagnosis) if each is not None and each.is_known)
    known = (each for each in known if incident.about is None or each.cause != incident.about.cause)
    return [
        *dict.fromkeys(_found(each) for each in known if not each.nodes or not blamed.issuperset(each.nodes))
    ]


def _told(told: PagedDiagnosis, incident: Incident) -> str:
    after = f"said {told.at - incident.opened:.1f} s after it was seen"
    return f"{_found(told.diagnosis)} ({after}): {told.diagnosis.why[:EARLIER_LIMIT]}"


def _found(found: Diagnosis) -> str:
    blamed = places(found)
    return f"{found.cause}{blamed and f', {blamed}'}"


def waited(incident: Incident) -> list[str]:
    """Say what its repair had to wait for and how long, a line each."""
    lasted: dict[str, Seconds] = {}
    for wait in incident.waits:
        lasted[wait.what] = lasted.get(wait.what, 0.0) + wait.until - wait.since
    return [f"Waited {seconds:.1f} s while {what}" for what, seconds in lasted.items()]


def _deeds(incident: Incident) -> list[str]:
    """Say what was done, each once; of a job that was formed again and again how often, and the last time."""
    resumes = [action for action in incident.actions if isinstance(action, Resume)]
    told = {action.id: _deed(action) for action in incident.actions if isinstance(action, DEEDS)}
    if len(resumes) > RESUMES_TOLD:
        told |= dict.fromkeys((action.id for action in resumes), "")
        told[resumes[-1].id] = f"{_deed(resumes[-1])}, the last of {counted(len(resumes), 'time')}"
    return [*dict.fromkeys(filter(None, told.values()))]


def _deed(action: Action) -> str:
    match action:
        case Evict(node=node):
            return f"evict {node}"
        case Resume(generation=generation, seats=seats):
            return f"resume as generation {generation} with {counted(len(seats), 'rank')}"
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
        raised = [f for f in incident.evidence if isinstance(f, RankRaised) and f.kind in ("user", AT_START)]
        lines = raised[-1].traceback.splitlines() if raised else []
        return _cut("\n".join(lines[-TRACEBACK_LINES:]))
    stacks = {action.id for action in incident.actions if isinstance(action, CollectStacks)}
    newest = incident.evidence[-1] if incident.evidence else None
    if isinstance(newest, Outcome) and newest.action in stacks:
        return _cut("\n\n".join(newest.data))
    return ""


def _cut(text: str) -> str:
    return text if len(text) <= THREAD_LIMIT else f"{text[:THREAD_LIMIT]}\n… the whole is in the logbook"
