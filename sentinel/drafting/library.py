"""Every incident that can be told again: recordings, and from the journal those that have none yet."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from sentinel.adapters.journal import Journal
from sentinel.core.state import Rules, State
from sentinel.logbook.recording import RecordingError, read
from sentinel.model.codec import CodecError, from_plain, to_plain
from sentinel.model.fact import Commanded, FindingReported, MembersProbed, RankRaised
from sentinel.model.ids import Cause, IncidentId
from sentinel.model.incident import UNKNOWN, Incident
from sentinel.model.journal import Recording
from sentinel.model.judgement import NOT_CAUSE, RIGHT
from sentinel.model.policy import Policy
from sentinel.model.runbook import Runbook
from sentinel.rehearse.history import Past, retell
from sentinel.runtime.rules import rules_of

Told: TypeAlias = FindingReported | MembersProbed | RankRaised
"""What a runbook's finding, Xid or pattern can match."""

SAME_S = 1.5
"""An incident that is told again is opened within this of when it was."""


class LibraryError(ValueError):
    """An incident is not there, or can't be told again; one line says why."""


def only_names(cause: Cause, books: Mapping[Cause, Runbook]) -> bool:
    """Say whether a cause names no more than what was seen: `unknown`, a symptom, or one of no runbook."""
    book = books.get(cause)
    return book is None or bool(book.symptoms) or cause == UNKNOWN


@dataclass(frozen=True)
class Case:
    """One incident: what a runbook can match of it, and how to have all of it told again."""

    incident: Incident
    """As it stood in the end."""
    told: tuple[Told, ...]
    """What was found or raised while it lasted, or shortly before, each once."""
    policy: Policy
    load: Callable[[], Recording]
    """Reads its recording, which may be large."""
    judged: str = ""
    """What people said last of its cause: RIGHT, NOT_CAUSE, or nothing."""

    @property
    def id(self) -> IncidentId:
        """Its name."""
        return self.incident.id

    @property
    def evidence(self) -> list[Told]:
        """What of that was in evidence."""
        return [fact for fact in self.incident.evidence if isinstance(fact, Told)]

    @property
    def cause(self) -> Cause:
        """What it was taken for."""
        return self.incident.about.cause if self.incident.about else UNKNOWN

    def nameless(self, books: Mapping[Cause, Runbook]) -> bool:
        """Say whether nothing better was known of it than its symptom, or people say that it was not that."""
        return self.judged == NOT_CAUSE or (only_names(self.cause, books) and self.judged != RIGHT)

    def named_by(self, books: Mapping[Cause, Runbook]) -> Cause:
        """Say what it is taken for when all that came from outside is decided again by these runbooks."""
        rules, recording = Rules(self.policy, books), self.load()
        _, now = retell(recording.lines, lambda: _state(recording), lambda _: rules, rules)
        near = (each for each in now.incidents.values() if abs(each.opened - self.incident.opened) <= SAME_S)
        same = sorted(near, key=lambda each: (each.job != self.incident.job, each.opened))
        return same[0].about.cause if same and same[0].about else UNKNOWN


def cases(state_dir: Path, policy: Policy, books: Mapping[Cause, Runbook]) -> Iterator[Case]:
    """Give every incident that can be told again, by its number. Raises JournalError, OSError."""
    rules, recorded = Rules(policy, books), dict[str, Path]()
    for path in sorted((state_dir / "recordings").glob("*.jsonl")):
        recorded[path.stem] = path
    judged, fresh = dict[str, str](), list[Recording]()
    if (file := state_dir / "journal.db").exists():
        with closing(Journal(file, read_only=True)) as journal:
            judged, fresh = _judged(journal), list(_without(journal, rules, recorded))
    for path in recorded.values():
        with suppress(RecordingError, LibraryError, CodecError, UnicodeDecodeError):
            # One of a later release, or damaged, is left out: `sentinel replay` says what is wrong with it.
            yield _case(partial(_read, path), policy, rules, judged)
    for recording in fresh:
        yield _case(partial(_same, recording), policy, rules, judged)


def _read(path: Path) -> Recording:
    return read(path.read_text(encoding="utf-8"), str(path))


def _same(recording: Recording) -> Recording:
    return recording


def _judged(journal: Journal) -> dict[str, str]:
    """Give what people said last of each incident's cause."""
    said = (line.fact for line in journal.lines(after=journal.first_seq() - 1))
    words = (fact for fact in said if isinstance(fact, Commanded) and fact.command in (RIGHT, NOT_CAUSE))
    return {fact.target: fact.command for fact in words}


def _without(journal: Journal, rules: Rules, recorded: Collection[str]) -> Iterator[Recording]:
    """Cut incidents out of the journal that have no recording, for they are open still."""
    loaded, by = journal.load(), rules_of(journal, rules)
    past = Past(State.from_bytes(loaded.snapshot) if loaded.snapshot else State())
    known = dict(past.state.incidents.items())
    for line in loaded.tail:
        past.follow(line, by(line))
    known |= {name: incident for (_, name), incident in past.incidents.items()}
    for name, incident in known.items():
        if name not in recorded:
            yield journal.recording(incident, to_plain(rules.policy))


def _case(load: Callable[[], Recording], policy: Policy, rules: Rules, judged: Mapping[str, str]) -> Case:
    """Follow a recording to its end. Raises LibraryError where it is of no incident."""
    recording = load()
    numbers = from_plain(Policy, recording.policy) if recording.policy else policy
    past, own = Past(_state(recording)), Rules(numbers, rules.runbooks)
    before = [fact for node in past.state.nodes.values() for fact in node.recent]
    for line in recording.lines:
        past.follow(line, own)
    incident = past.incidents.get((0, recording.incident)) or past.state.incidents.get(recording.incident)
    if incident is None:
        raise LibraryError(f"{recording.incident}: its recording does not open it")
    facts = (*incident.evidence, *before, *(line.fact for line in recording.lines))
    told = tuple({repr(fact): fact for fact in facts if isinstance(fact, Told)}.values())
    return Case(incident, told, numbers, load, judged.get(recording.incident, ""))


def _state(recording: Recording) -> State:
    return State.from_plain(recording.state) if recording.state else State()
