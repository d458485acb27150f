"""What an incident has and others have not: codes of findings, and patterns of the lines in its evidence."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sentinel.core.evidence import ECHOES
from sentinel.core.state import Rules
from sentinel.drafting.library import Case, Told
from sentinel.drafting.templates import Templates, masked, pattern_of
from sentinel.model.fact import FindingReported, MembersProbed, RankRaised
from sentinel.model.finding import NO_OPINION, TRAINER, Finding, Health, gpu_of
from sentinel.model.ids import Instant
from sentinel.model.incident import Blame
from sentinel.model.kernel_line import said
from sentinel.model.runbook import Match

BAD = (Health.WARNING, Health.CRITICAL)
MOST_LINES = 200
"""Of an incident: those that came first; a long traceback says the same again."""
_XID = re.compile(r"xid-(\d{1,3})")
_COMMON = 0.5
"""What more than this share of the incidents without a name have tells nothing, such as a busy host."""


@dataclass(frozen=True)
class Seen:
    """One line or finding of an incident."""

    at: Instant
    node: str
    blames: Blame
    """Whom it is about."""
    text: str
    title: str
    """What people may call it."""


@dataclass(frozen=True)
class Trait:
    """One way in which a runbook could match an incident, and who else has it."""

    match: Match
    seen: Seen
    """Where the incident has it first."""
    alike: tuple[str, ...]
    """Incidents without a better name than a symptom's that have it, too."""
    others: tuple[str, ...]
    """Incidents of a known cause that have it, too."""
    common: bool
    """Most that have no name have it: it tells nothing of this one."""

    @property
    def apart(self) -> bool:
        """Whether it sets the incident apart."""
        return not (self.others or self.common)

    @property
    def what(self) -> str:
        """Say what is matched."""
        return f"xid {self.match.xid[0]}" if self.match.xid else self.match.finding or self.match.log


def traits(target: Case, every: Sequence[Case], rules: Rules) -> list[Trait]:
    """Give the target's traits, those that set it apart best first."""
    found = dict[Match, Seen]()
    for match, seen in (*_codes(target, rules), *_patterns(target, every)):
        found.setdefault(match, seen)
    others = [case for case in every if case.id != target.id]
    made = [_trait(match, seen, others, rules) for match, seen in found.items()]
    return sorted(made, key=_order)


def _order(trait: Trait) -> tuple[int, bool, bool, int, Instant]:
    return len(trait.others), trait.common, bool(trait.match.log), -len(trait.alike), trait.seen.at


def _trait(match: Match, seen: Seen, others: Sequence[Case], rules: Rules) -> Trait:
    have = {case.id: case.nameless(rules.runbooks) for case in others if has(case.evidence, match)}
    alike = tuple(name for name, is_nameless in have.items() if is_nameless)
    known = tuple(name for name, is_nameless in have.items() if not is_nameless)
    nameless = [case for case in others if case.nameless(rules.runbooks)]
    return Trait(match, seen, alike, known, common=len(alike) > max(1.0, _COMMON * len(nameless)))


def has(told: Sequence[Told], match: Match) -> bool:
    """Say whether a runbook's alternative may hold by these; one that has to be computed may."""
    if match.again or match.predicate:
        return True
    if match.log:
        pattern = re.compile(match.log)
        return any(pattern.search(text) for fact in told for text in _searched(fact))
    codes = {match.finding, *(f"xid-{number}" for number in match.xid)}
    return any(finding.code in codes for fact in told for _, finding in _findings(fact))


def _searched(fact: Told) -> Iterator[str]:
    """Give the texts that a runbook's pattern is searched in."""
    if isinstance(fact, RankRaised):
        yield f"{fact.error}\n{fact.traceback}"
    for _, finding in _findings(fact):
        yield "\n".join([finding.summary, *map(str, finding.evidence.values())])


def _findings(fact: Told) -> Iterator[tuple[str, Finding]]:
    if isinstance(fact, FindingReported) and fact.finding.health in BAD:
        yield fact.node, fact.finding
    elif isinstance(fact, MembersProbed):
        yield from ((each.node, each.finding) for each in fact.findings if each.finding.health in BAD)


def _in_evidence(case: Case) -> Iterator[Told]:
    """Give what was in evidence until the job stepped again, and accuses somebody of ours."""
    until = case.incident.times.get("new_step", float("inf"))
    for fact in case.evidence:
        if fact.at > until:
            continue
        if isinstance(fact, RankRaised) and fact.kind in ECHOES:
            continue
        if isinstance(fact, FindingReported) and fact.finding.evidence.get("owner") == "stranger":
            continue
        yield fact


def _codes(case: Case, rules: Rules) -> Iterator[tuple[Match, Seen]]:
    """Give the codes of findings that no runbook asks for yet."""
    for fact in _in_evidence(case):
        for node, finding in _findings(fact):
            if finding.code in rules.by_code or finding.code in NO_OPINION:
                continue
            xid = _XID.fullmatch(finding.code)
            match = Match(xid=(int(xid[1]),)) if xid else Match(finding=finding.code)
            yield match, Seen(fact.at, node, _blame(finding), _line(finding), finding.summary)


def _patterns(target: Case, every: Sequence[Case]) -> Iterator[tuple[Match, Seen]]:
    """Give patterns of the target's lines: as all lines together teach them, and each by itself."""
    names = {node for case in every for node in _nodes(case)}
    lines = [(masked(seen.text, names), seen) for seen in _lines(target)]
    others = (masked(seen.text, names) for case in every for seen in _lines(case))
    learned = Templates([*(line for line, _ in lines), *others])
    for line, seen in lines:
        for template in (learned.of(line), line):
            pattern = pattern_of(template)
            if pattern and re.search(pattern, seen.text):
                yield Match(log=pattern), seen


def _nodes(case: Case) -> set[str]:
    return {str(fact.node) for fact in case.told if not isinstance(fact, MembersProbed)}


def _lines(case: Case) -> list[Seen]:
    """Give the lines of an incident's evidence in which a pattern is searched, the first ones."""
    found = list[Seen]()
    for fact in _in_evidence(case):
        if isinstance(fact, RankRaised):
            texts = [fact.error, *(line.strip() for line in fact.traceback.splitlines()[::-1])]
            raised = (text for text in texts if text and not text.startswith(("File ", "Traceback ")))
            found += [Seen(fact.at, str(fact.node), Blame.RANK, text, text) for text in raised]
        for node, finding in _findings(fact):
            line = _line(finding)
            found.append(Seen(fact.at, node, Blame.NODE, line, line))
    return found[:MOST_LINES]


def _line(finding: Finding) -> str:
    """Give the decisive line of a finding, without who wrote it when; else its summary."""
    line = finding.evidence.get("line")
    return (said(line) or line).strip() if isinstance(line, str) else finding.summary


def _blame(finding: Finding) -> Blame:
    if finding.check == TRAINER:
        return Blame.NOBODY
    return Blame.NODE if gpu_of(finding.component) is None else Blame.GPU
