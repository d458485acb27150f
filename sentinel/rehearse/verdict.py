"""What came out of a scenario, and whether that is what was expected."""

from collections.abc import Iterator

from msgspec import Struct

from sentinel.core.page.words import whereabouts
from sentinel.model.action import Evict, Page, Refusal, RestartJob, Resume, StopJob
from sentinel.model.incident import Incident, Shared, Suspect
from sentinel.model.severity import Severity
from sentinel.rehearse.controller import Decision
from sentinel.rehearse.rehearsal import JOB, Rehearsal
from sentinel.rehearse.scenario import Expect


class Accused(Struct, frozen=True):
    """Who is blamed."""

    node: str | None
    rank: int | None
    gpu: int | None


class Known(Struct, frozen=True):
    """One incident as it stood in the end."""

    cause: str
    """Empty while nobody knows."""
    suspects: list[Accused]
    opened_s: float
    stage: str
    why: str = ""
    shared: str = ""
    """Domains that its suspects share, `rack r1`; `cluster` where none smaller is known."""


class Refused(Struct, frozen=True):
    """What was not done."""

    what: str
    why: str


class Woken(Struct, frozen=True):
    """One message that was opened."""

    at_s: float
    title: str
    severity: str
    """`critical | warning | info`: the most urgent that its page ever said."""


class Verdict(Struct, frozen=True):
    """What Sentinel would do."""

    id: str
    incidents: list[Known]
    evicted: list[str]
    refused: list[Refused]
    pages: list[Woken]
    stopped: list[str]
    resumes: int
    order: list[str]
    """What was done, in order: `evict n1`, `resume 2`, `restart moe`, `stop moe`, `page gpu-lost`."""
    trains: bool
    restarts: int
    """How often a watched job's command was run."""
    facts: int
    """Rows that the journal would have."""
    fold_s: float
    seconds: float
    """Of a processor."""
    defects: list[str]
    ignored: list[str]
    expect: Expect
    wrong: list[str]
    """Where it is not as expected."""

    @property
    def ok(self) -> bool:
        """Whether it came out as expected."""
        return not self.wrong


def of(played: Rehearsal) -> Verdict:
    """Read out what came of a scenario that was played."""
    controller, began = played.controller, played.began
    incidents = [_known(each, began) for each in controller.incidents.values()]
    actions = [(decision.at, action) for decision in controller.decisions for action in decision.actions]
    evicted = list(dict.fromkeys(action.node for _, action in actions if isinstance(action, Evict)))
    verdict = Verdict(
        id=played.scenario.id,
        incidents=incidents,
        evicted=[str(node) for node in evicted],
        refused=[Refused(a.wanted, a.reason) for _, a in actions if isinstance(a, Refusal)],
        pages=list(_woken([(at - began, a) for at, a in actions if isinstance(a, Page)])),
        stopped=[str(action.job) for _, action in actions if isinstance(action, StopJob)],
        resumes=sum(isinstance(action, Resume) for _, action in actions),
        order=list(_order(controller.decisions)),
        trains=_trains(played),
        restarts=sum(isinstance(action, RestartJob) for _, action in actions),
        facts=len(controller.decisions),
        fold_s=round(controller.fold_s, 4),
        seconds=round(played.processor_s, 3),
        defects=controller.defects,
        ignored=played.ignored,
        expect=played.scenario.expect,
        wrong=[],
    )
    verdict.wrong.extend(_wrong(verdict, played.scenario.expect))
    return verdict


def _trains(played: Rehearsal) -> bool:
    """Look at the ranks themselves, whatever anybody believes of them."""
    gang = played.world.gangs[JOB]
    return gang.moves(played.world.cut) and played.world.now >= gang.since


def _known(incident: Incident, began: float) -> Known:
    found = incident.diagnosis
    suspects = [Accused(s.node, s.rank, s.gpu) for s in found.suspects] if found else []
    stage = incident.stage.value
    return Known(
        found.cause if found else "",
        suspects,
        round(incident.opened - began, 3),
        stage,
        found.why if found else "",
        _shared(found.shared) if found and found.shared else "",
    )


def _shared(shared: Shared) -> str:
    return ", ".join(" ".join(domain) for domain in shared.domains) or "cluster"


def _woken(pages: list[tuple[float, Page]]) -> Iterator[Woken]:
    """Say who was woken when, each incident once, and how urgent it became."""
    for at, page in pages:
        if page.revision == 1:
            said = {each.severity for _, each in pages if each.incident == page.incident}
            yield Woken(round(at, 3), page.title, next(each.value for each in Severity if each in said))


def _order(decisions: list[Decision]) -> Iterator[str]:
    for decision in decisions:
        for action, cause in zip(decision.actions, decision.causes, strict=True):
            match action:
                case Evict(node=node):
                    yield f"evict {node}"
                case Resume(seats=seats):
                    yield f"resume {len(seats)}"
                case RestartJob(job=job):
                    yield f"restart {job}"
                case StopJob(job=job):
                    yield f"stop {job}"
                case Page(revision=1):
                    yield f"page {cause}"


def _wrong(verdict: Verdict, expect: Expect) -> Iterator[str]:
    causes = sorted(each.cause for each in verdict.incidents if each.cause)
    places = sorted(place(suspect) for each in verdict.incidents for suspect in each.suspects)
    compared: tuple[tuple[str, object, object], ...] = (
        ("causes", _sorted(expect.causes), causes),
        ("evicted", expect.evicted, bool(verdict.evicted)),
        ("evictions", _sorted(expect.evictions), sorted(verdict.evicted)),
        ("suspects", _sorted(expect.suspects), places),
        ("stopped", expect.stopped, bool(verdict.stopped)),
        ("pages", expect.pages, len(verdict.pages)),
        ("resumes", expect.resumes, verdict.resumes),
        ("restarts", expect.restarts, verdict.restarts),
        ("shared", _sorted(expect.shared), sorted(each.shared for each in verdict.incidents if each.shared)),
        ("trains", expect.trains, verdict.trains),
    )
    for name, wanted, got in compared:
        if wanted is not None and wanted != got:
            yield f"{name}: expected {_said(wanted)}, got {_said(got)}"
    if expect.evicted_has is not None and expect.evicted_has not in verdict.evicted:
        yield f"evicted_has: {expect.evicted_has} is not among {_said(verdict.evicted)}"
    if expect.seconds_max is not None and verdict.seconds > expect.seconds_max:
        yield f"seconds_max: took {verdict.seconds:.1f} s, expected at most {expect.seconds_max:g}"
    yield from (f"a defect: {each}" for each in verdict.defects)


def _sorted(names: list[str] | None) -> list[str] | None:
    return None if names is None else sorted(names)


def _said(value: object) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, list) else str(value).lower()


def place(suspect: Accused) -> str:
    """Say where a suspect is, as expectations name it."""
    return whereabouts(Suspect(suspect.node, suspect.rank, suspect.gpu))  # type: ignore[arg-type]
