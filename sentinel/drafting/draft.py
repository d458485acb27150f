"""A runbook drafted from one incident: its front matter, and prose that a person goes on with."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from sentinel.core.evidence import SYMPTOMS
from sentinel.core.page.words import where
from sentinel.core.state import Rules
from sentinel.drafting.library import Case
from sentinel.drafting.traits import Trait
from sentinel.logbook.markdown import utc
from sentinel.logbook.words import fact_line
from sentinel.model.counted import counted
from sentinel.model.incident import UNKNOWN
from sentinel.model.judgement import NOT_CAUSE
from sentinel.redact import redact
from sentinel.runbooks.own import NAME

CONFIDENCE = 0.6
"""Below `policy.evict_confidence`: a draft evicts nobody, whatever remedy it is given first."""
_TITLE = 80
_LINES = 8
"""Of the incident's evidence, and of the further traits, that the prose quotes."""
_QUOTED = 300
_STOP = frozenset(
    {"the", "and", "for", "that", "with", "was", "not", "from", "has", "its", "num", "pci", "hex"}
)


def name_of(trait: Trait, taken: Sequence[str]) -> str:
    """Propose a cause's name that no runbook has."""
    code = trait.match.finding or (f"xid-{trait.match.xid[0]}" if trait.match.xid else "")
    words = code or "-".join(_words(trait.seen.text)[:3])
    name = re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:40] or "drafted"
    name = name if NAME.fullmatch(name) else f"x-{name}"
    return next(
        each for each in (name, *(f"{name}-{n}" for n in range(2, len(taken) + 3))) if each not in taken
    )


def _words(text: str) -> list[str]:
    words = re.findall(r"[A-Za-z]{3,}", text)
    return [word for word in words if word.lower() not in _STOP]


def text_of(cause: str, title: str, trait: Trait, more: Sequence[Trait], case: Case, rules: Rules) -> str:
    """Write the draft. It restarts the ranks, pages and evicts nobody: more is for a person to say."""
    front = _front(cause, title or _title(trait), trait, case, rules)
    return redact(f"---\n{front}---\n\n{_prose(trait, more, case)}")


def _front(cause: str, title: str, trait: Trait, case: Case, rules: Rules) -> str:
    symptoms = {SYMPTOMS[type(fact)] for fact in case.incident.evidence if type(fact) in SYMPTOMS}
    named = {str(cause) for symptom in symptoms for cause in rules.naming_only(symptom)}
    was = {str(case.cause)} if case.judged == NOT_CAUSE and case.cause != UNKNOWN else set[str]()
    explains = sorted(named | was)
    has_job = case.incident.job is not None
    keys: dict[str, Any] = {"cause": cause, "title": title}
    rest: dict[str, Any] = {
        "blames": trait.seen.blames.value,
        "remedy": "restart" if has_job else "none",
        "page": "at-once",
        "severity": "warning",
        "confidence": CONFIDENCE,
        **({"explains": explains} if explains else {}),
        **({"counts": True} if has_job else {}),
    }
    return f"{_yaml(keys)}matches:\n  - {_yaml(_match(trait))}{_yaml(rest)}"


def _yaml(keys: dict[str, Any]) -> str:
    """Write keys a line each, lists within theirs."""
    return "".join(
        f"{key}: [{', '.join(map(str, value))}]\n"
        if isinstance(value, list)
        else yaml.safe_dump({key: value}, width=10_000, allow_unicode=True)
        for key, value in keys.items()
    )


def _match(trait: Trait) -> dict[str, Any]:
    match = trait.match
    if match.xid:
        return {"xid": [*match.xid]}
    return {"finding": match.finding} if match.finding else {"log": match.log}


def _title(trait: Trait) -> str:
    text = " ".join(redact(trait.seen.title).split())
    short = text if len(text) <= _TITLE else f"{text[:_TITLE].rsplit(' ', 1)[0]} …"
    return short[:1].upper() + short[1:]


def _prose(trait: Trait, more: Sequence[Trait], case: Case) -> str:
    return "\n".join(_paragraphs(trait, more, case)) + "\n"


def _paragraphs(trait: Trait, more: Sequence[Trait], case: Case) -> Iterator[str]:
    incident = case.incident
    does = "the ranks are formed anew; nobody is evicted" if incident.job else "nothing: people are told"
    yield f"- **Done:** {does}."
    yield "- **You:** (say what is asked of the reader: at once, in working hours, or nothing.)\n"
    yield "## Meaning\n"
    opened = utc(incident.opened)
    yield f"Drafted from {case.id} of {opened}, which was taken for `{case.cause}`. What sets it apart:\n"
    yield f"    {_quoted(trait.seen.text)}\n"
    yield "(Say what that means, and who says so.)\n"
    yield "## Impact\n"
    yield f"{_impact(case)} (Say what follows if nobody does anything.)\n"
    yield "## Diagnosis\n"
    yield f"- `sentinel incidents {case.id}`: {where(incident) or 'nobody was blamed'}; it began with"
    facts = sorted(incident.evidence, key=lambda fact: fact.at)[:_LINES]
    yield from (f"  - {fact.at - incident.opened:+.1f} s: `{_quoted(fact_line(fact))}`" for fact in facts)
    if others := [each for each in more if each.apart][:_LINES]:
        yield "- Also only here, and not asked for above:"
        yield from (f"  - `{each.what}`" for each in others)
    yield "\n## Mitigation\n"
    yield "(Say what helped.) Until then `sentinel drain NODE --reason …`, if you are sure of a node."


def _impact(case: Case) -> str:
    incident = case.incident
    lost = "" if incident.steps_lost is None else f", {counted(incident.steps_lost, 'step')} lost"
    if incident.job is None:
        return f"In {case.id} no job suffered."
    if (stepped := incident.times.get("new_step")) is None:
        return f"In {case.id} {incident.job} did not come back by itself{lost}."
    return f"In {case.id} {incident.job} stepped again after {stepped - incident.opened:.1f} s{lost}."


def _quoted(text: str) -> str:
    return " ".join(text.replace("`", "'").split())[:_QUOTED]
