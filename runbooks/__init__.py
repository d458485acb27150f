"""Read the executable runbooks: the YAML front matter of every `<cause>.md` in this folder."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Collection, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from sentinel.core.diagnose.predicates import NAMES
from sentinel.model.codec import from_plain, to_plain
from sentinel.model.ids import Cause
from sentinel.model.incident import Blame
from sentinel.model.policy import Rung
from sentinel.model.runbook import Ends, Match, PageWhen, Remedy, Runbook, Scope, Symptom
from sentinel.model.severity import Severity

UNKNOWN = Cause("unknown")
"""The one cause that needs no match: what is left when nothing else fits."""

_FRONT = re.compile(r"\A---\n(?P<yaml>.*?\n)---\n(?P<prose>.*)", re.DOTALL)

_WORDS: Mapping[str, type[StrEnum]] = {
    "blames": Blame,
    "remedy": Remedy,
    "page": PageWhen,
    "severity": Severity,
    "scope": Scope,
    "ends": Ends,
    "symptoms": Symptom,
    "repair": Rung,
}
_LISTS = ("symptoms", "repair")
_APART = frozenset({Remedy.NONE, Remedy.FREEZE, Remedy.RESTART_AGENT, Remedy.RESTART_GCS})
"""Remedies that leave a job alone: unless the runbook says otherwise, its incidents are not the job's."""


class RunbookError(ValueError):
    """A runbook's front matter is wrong; one line says which file, which key and what is allowed."""


def load(directory: Path | None = None, predicates: Collection[str] | None = None) -> dict[Cause, Runbook]:
    """Read every runbook, by cause. `directory` defaults to the bundled ones.

    `predicates` are the names that a match may use, by default those of the core. Raises RunbookError.
    """
    known = NAMES if predicates is None else predicates
    folder = directory or Path(__file__).parent
    files = sorted(folder.glob("*.md"))
    if not files:
        raise RunbookError(f"{folder}: {'holds no runbook' if folder.is_dir() else 'no such folder'}")
    books = {Cause(file.stem): _read(file, known) for file in files}
    for file in files:
        for key, cause in _named(books[Cause(file.stem)]):
            if cause not in books:
                raise RunbookError(f"{file}: {key}: no runbook {cause!r}; there are {_join(books)}")
    return books


def _named(book: Runbook) -> Iterator[tuple[str, Cause]]:
    """Other causes that a runbook names, and where."""
    yield from (("explains", cause) for cause in book.explains)
    yield from (("behind", cause) for cause in book.behind)
    yield from (("echoes", cause) for cause in book.echoes)
    yield from (("matches: again", Cause(match.again)) for match in book.matches if match.again)


def prose(cause: Cause, directory: Path | None = None) -> str:
    """Give the part of a runbook that people read, as Markdown. Raises RunbookError."""
    file = (directory or Path(__file__).parent) / f"{cause}.md"
    return _split(file)[1]


def hash_of(runbooks: Mapping[Cause, Runbook]) -> str:
    """Identify what these runbooks decide, whatever their prose says: 16 hexadecimal digits."""
    plain = {cause: to_plain(book) for cause, book in runbooks.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def _join(names: Collection[str]) -> str:
    return ", ".join(sorted(names))


def _split(file: Path) -> tuple[str, str]:
    try:
        found = _FRONT.match(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise RunbookError(f"{file}: cannot be read: {error}") from None
    if not found:
        raise RunbookError(f"{file}: does not begin with front matter between two lines of ---")
    return found["yaml"], found["prose"]


def _read(file: Path, predicates: Collection[str]) -> Runbook:
    try:
        front = yaml.safe_load(_split(file)[0])
    except yaml.YAMLError as error:
        raise RunbookError(f"{file}: front matter is not YAML: {' '.join(str(error).split())}") from None
    try:
        book: Runbook = from_plain(Runbook, _plain(front))
        _judge(book, file.stem, predicates)
    except ValueError as error:
        raise RunbookError(f"{file}: {str(error).removeprefix('no Runbook: ')}") from None
    return book


def _plain(front: Any) -> dict[str, Any]:
    """Give the wire form of a front matter, whose keys are those of Runbook and Match."""
    plain = _closed("front matter", front, Runbook)
    for key, words in _WORDS.items():
        for word in plain.get(key, ()) if key in _LISTS else [plain.get(key, next(iter(words)))]:
            if word not in list(words):
                raise RunbookError(f"{key}: {word!r:.80} is no {words.__name__}: {', '.join(words)}")
    if plain["remedy"] in _APART:
        plain = {"scope": Scope.NODE.value, "ends": Ends.SIGN.value, **plain}
    if isinstance(plain["matches"], list):
        plain["matches"] = [_closed("matches", match, Match) for match in plain["matches"]]
    return plain


def _closed(where: str, mapping: Any, noun: type) -> dict[str, Any]:
    fields = dataclasses.fields(noun)
    allowed = _join([field.name for field in fields])
    if not isinstance(mapping, dict):
        raise RunbookError(f"{where}: expected keys of {allowed}; got {mapping!r:.80}")
    for key in mapping:
        if key not in {field.name for field in fields}:
            raise RunbookError(f"{where}: unknown key {key!r}; allowed are {allowed}")
    for field in fields:
        if field.default is dataclasses.MISSING and field.name not in mapping:
            raise RunbookError(f"{where}: missing key {field.name!r}")
    return dict(mapping)


def _judge(book: Runbook, stem: str, predicates: Collection[str]) -> None:
    """Check what types cannot. Raises RunbookError."""
    if book.cause != stem:
        raise RunbookError(f"cause: {book.cause!r} must be the file's name, {stem!r}")
    if not 0 <= book.confidence <= 1:
        raise RunbookError(f"confidence: {book.confidence} is not between 0 and 1")
    if not book.matches and book.cause != UNKNOWN:
        raise RunbookError(f"matches: only {UNKNOWN!r} may be empty")
    if bool(book.asks) != bool(book.behind):
        raise RunbookError("asks and behind: the one says which check is asked, the other where; give both")
    for match in book.matches:
        _judge_match(match, predicates)


def _judge_match(match: Match, predicates: Collection[str]) -> None:
    given = [field.name for field in dataclasses.fields(match) if getattr(match, field.name)]
    if len(given) != 1:
        raise RunbookError(
            f"matches: each needs exactly one of again, finding, log, predicate, xid; got {given}"
        )
    if match.predicate and match.predicate not in predicates:
        raise RunbookError(f"matches: unknown predicate {match.predicate!r}; there are {_join(predicates)}")
    try:
        re.compile(match.log)
    except re.error as error:
        raise RunbookError(f"matches: log: {match.log!r} is no regular expression: {error}") from None
