"""What decisions are made by: the policy's numbers and the runbooks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sentinel.model.ids import Cause
from sentinel.model.incident import Diagnosis, Incident
from sentinel.model.policy import Policy
from sentinel.model.runbook import Remedy, Runbook, Symptom
from sentinel.model.severity import Severity


@dataclass(frozen=True, slots=True)
class Rules:
    """What decisions are made by: the policy's numbers and the runbooks."""

    policy: Policy
    runbooks: Mapping[Cause, Runbook]
    by_code: Mapping[str, tuple[Runbook, ...]] = field(init=False, repr=False, compare=False)
    """Runbooks by the code of a finding that they match, so that a finding costs no search."""
    by_evidence: tuple[Runbook, ...] = field(init=False, repr=False, compare=False)
    """Runbooks that look at more than a finding's code."""
    asked: Mapping[Cause, tuple[str, ...]] = field(init=False, repr=False, compare=False)
    """Collective checks that are asked where a cause is diagnosed, for another one may be behind it."""
    _by_symptom: Mapping[Symptom | None, frozenset[Cause]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found: dict[str, tuple[Runbook, ...]] = {}
        for book in self.runbooks.values():
            for looks in book.matches:
                for code in [looks.finding] if looks.finding else [f"xid-{number}" for number in looks.xid]:
                    found[code] = (*found.get(code, ()), book)
        object.__setattr__(self, "by_code", found)
        books = self.runbooks.values()
        wider = (book for book in books if any(not (looks.finding or looks.xid) for looks in book.matches))
        object.__setattr__(self, "by_evidence", tuple(wider))
        asked: dict[Cause, tuple[str, ...]] = {}
        for book in books:
            asked |= {cause: (*asked.get(cause, ()), book.asks) for cause in book.behind}
        object.__setattr__(self, "asked", asked)
        named = {
            symptom: frozenset(book.cause for book in books if symptom in book.symptoms)
            for symptom in Symptom
        }
        object.__setattr__(self, "_by_symptom", named)

    def naming_only(self, symptom: Symptom | None) -> frozenset[Cause]:
        """Causes that only name this symptom."""
        return self._by_symptom.get(symptom, frozenset())

    def book_of(self, incident: Incident) -> Runbook | None:
        """Return the runbook of an incident's diagnosis."""
        return self.runbooks.get(incident.diagnosis.cause) if incident.diagnosis else None

    def severity_of(self, found: Diagnosis | None) -> Severity:
        """Say how urgent its runbook says that a cause is."""
        book = self.runbooks.get(found.cause) if found else None
        return book.severity if book else Severity.WARNING

    def remedy_of(self, incident: Incident) -> Remedy | None:
        """Return what an incident's diagnosis asks for; None while there is no diagnosis."""
        if incident.diagnosis is None:
            return None
        book = self.runbooks.get(incident.diagnosis.cause)
        return book.remedy if book else Remedy.RESTART
