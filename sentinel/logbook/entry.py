"""One incident as one logbook entry: what, where, evidence, what was done and why, what it cost."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sentinel.core.evidence import breaks, recoveries
from sentinel.core.page.words import (
    acked,
    also,
    broke_again,
    earlier,
    others,
    stood_still,
    title_of,
    waited,
    where,
)
from sentinel.logbook.markdown import relative, template
from sentinel.logbook.row import STAGES, Row, reached
from sentinel.logbook.words import action_line, fact_line, fact_raw
from sentinel.model.action import Action, Evict, Page, Refusal, Resume
from sentinel.model.fact import Outcome
from sentinel.model.ids import ActionId, Instant, Seconds
from sentinel.model.incident import Incident
from sentinel.model.journal import Line
from sentinel.model.runbook import Runbook
from sentinel.redact import redact


@dataclass(frozen=True, slots=True)
class EntryLine:
    """One line of an entry: when, what, its raw evidence, and for an action what became of it."""

    after: Seconds | None
    line: str
    raw: str = ""
    outcome: str = ""


def row(incident: Incident, runbook: Runbook | None = None) -> Row:
    """Sum an incident up for the index."""
    diagnosis = incident.about
    recovered = recoveries(incident)
    broke = recovered[0][0] if recovered else incident.opened
    words = [diagnosis.why if diagnosis else "", *map(fact_line, incident.evidence)]
    return Row(
        incident=incident.id,
        opened=incident.opened,
        stage=incident.stage.value,
        cause=diagnosis.cause if diagnosis else "",
        title=title_of(incident, runbook),
        where=where(incident),
        job=incident.job or "",
        times={name: incident.times[name] - incident.opened for name in STAGES if name in incident.times},
        steps_lost=incident.steps_lost,
        gpu_seconds_lost=gpu_seconds_lost(incident),
        evicted=_evicted(incident),
        suspects=tuple((s.node, s.rank, s.gpu) for found in incident.where for s in found.suspects),
        words=redact(" ".join(words)),
        others=tuple(others(incident)),
        again=tuple(step - since for since, step in recovered[1:]),
        part_of=incident.part_of or "",
        refused=sum(isinstance(action, Refusal) for action in incident.actions),
        unseen=max(0.0, incident.opened - broke),
    )


def _evicted(incident: Incident) -> tuple[str, ...]:
    failed = {outcome.action for outcome in _outcomes(incident).values() if not outcome.ok}
    evicts = (action for action in incident.actions if isinstance(action, Evict))
    return tuple(sorted({action.node for action in evicts if action.id not in failed}))


def gpu_seconds_lost(incident: Incident) -> float | None:
    """GPUs of the resumed generation x seconds from the first sign to its first new step, of each break.

    A job that stalled, or broke while nobody was there, stood still before anybody saw it: that counts, too.
    Steps that had to be trained again lie within that time. None when nothing was resumed.
    """
    worlds = [len(action.seats) for action in incident.actions if isinstance(action, Resume)]
    if not worlds or "new_step" not in incident.times:
        return None
    first = (fact.happened for fact in breaks(incident) if fact.at <= incident.times["new_step"])
    stood_s = incident.times["new_step"] - min([incident.opened, *first])
    return max(worlds) * (stood_s + sum(step - since for since, step in recoveries(incident)[1:]))


def render(incident: Incident, lines: Iterable[Line] = (), runbook: Runbook | None = None) -> str:
    """Write the entry as Markdown. `lines`, its recording, tell when an older release decided its actions."""
    decided = {action.id: line.fact.at for line in lines for action in line.actions}
    found = row(incident, runbook)
    text = template("entry.md.j2").render(
        row=found,
        diagnosis=incident.about,
        acked_by=acked(incident),
        stages=reached(found.times, found.cause),
        evidence=_evidence(incident),
        earlier=[*earlier(incident), *also(incident), *stood_still(incident), *broke_again(incident)],
        done=_done(incident, decided),
        waited=waited(incident),
        proofs=incident.proofs,
        refused=[each for each in _dated(incident, decided) if isinstance(each[1], Refusal)],
        pages=_pages(incident.actions),
        attachments=_attachments(incident),
    )
    return re.sub(r"\n{3,}", "\n\n", redact(text)).rstrip() + "\n"


def _evidence(incident: Incident) -> list[EntryLine]:
    facts = sorted((fact for fact in incident.evidence if not isinstance(fact, Outcome)), key=lambda f: f.at)
    return [EntryLine(fact.at - incident.opened, fact_line(fact), fact_raw(fact)) for fact in facts]


def _outcomes(incident: Incident) -> dict[ActionId, Outcome]:
    return {fact.action: fact for fact in incident.evidence if isinstance(fact, Outcome)}


def _done(incident: Incident, decided: dict[ActionId, Instant]) -> list[EntryLine]:
    outcomes, deeds = _outcomes(incident), []
    for after, action in _dated(incident, decided):
        if isinstance(action, Refusal | Page):
            continue
        outcome = outcomes.get(action.id)
        became = _became(outcome, incident.opened) if outcome else ""
        deeds.append(EntryLine(after, action_line(action), outcome=became))
    return deeds


def _dated(
    incident: Incident, decided: Mapping[ActionId, Instant]
) -> Iterator[tuple[Seconds | None, Action]]:
    """Give what was done or refused with the seconds after opening at which that was decided."""
    for known, action in incident.deeds:
        at = decided.get(action.id) if known is None else known
        yield (None if at is None else at - incident.opened), action


def _became(outcome: Outcome, opened: Instant) -> str:
    what = f"{'done' if outcome.ok else 'FAILED'} at {relative(outcome.at - opened)}"
    return f"{what}: {outcome.detail}" if outcome.detail else what


def _pages(actions: Sequence[Action]) -> list[Page]:
    newest: dict[str, Page] = {}
    for action in actions:
        if isinstance(action, Page):
            newest[action.incident] = action
    return list(newest.values())


def _attachments(incident: Incident) -> list[EntryLine]:
    """What actions brought back, such as stacks; of a resume that succeeded all is said where it was done."""
    said = {action.id for action in incident.actions if isinstance(action, Resume)}
    found = (fact for fact in incident.evidence if isinstance(fact, Outcome) and fact.data)
    outcomes = [fact for fact in found if not (fact.ok and fact.action in said)]
    return [EntryLine(fact.at - incident.opened, str(fact.action), fact_raw(fact)) for fact in outcomes]
