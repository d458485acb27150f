"""Read the executable runbooks: the YAML front matter of every `<cause>.md` in this folder."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from sentinel import private
from sentinel.core.diagnose.predicates import NAMES
from sentinel.model.codec import from_plain, to_plain
from sentinel.model.ids import Cause
from sentinel.model.incident import Blame
from sentinel.model.policy import Rung
from sentinel.model.runbook import Ends, Match, PageWhen, Remedy, Runbook, Scope, Symptom
from sentinel.model.severity import Severity

UNKNOWN = Cause("unknown")
"""The one cause that needs no match: what is left when nothing else fits."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's, where it is there: every start of a controller reads all runbooks."""
_LONGEST = 1 << 20
"""Bytes of a cluster's own runbook."""
_ANYTHING = (
    "usb 1-1: new high-speed USB device number 2 using xhci_hcd",
    "ValueError: expected a tensor of two dimensions",
    "FileNotFoundError: [Errno 2] No such file or directory: '/data/shard-17'",
    "the clock was set",
    "eth0: link becomes ready",
    "71",
)
"""Lines that have nothing in common: what is found in half of them names no cause."""
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


def load(
    directory: Path | None = None, predicates: Collection[str] | None = None, own: Path | None = None
) -> dict[Cause, Runbook]:
    """Read every runbook, by cause. `directory` defaults to the bundled ones.

    `predicates` are the names that a match may use, by default those of the core. `own` is a folder of a
    cluster's own, which need not be there, and in which nobody else may write. Raises RunbookError.
    """
    known = NAMES if predicates is None else predicates
    folder = directory or Path(__file__).parent
    files = sorted(folder.glob("*.md"))
    if not files:
        raise RunbookError(f"{folder}: {'holds no runbook' if folder.is_dir() else 'no such folder'}")
    books = {file: _read(file, known, _text) for file in files}
    for file in sorted(own.glob("*.md")) if own else ():
        books[file] = _new_to(books, file, _read(file, known, _own_text))
    by_cause = {book.cause: book for book in books.values()}
    for file, book in books.items():
        _see_named(file, book, by_cause)
    return by_cause


def there(*folders: Path) -> dict[Path, Runbook]:
    """Read the bundled runbooks, and those of further folders, by their files. Raises RunbookError."""
    files = (file for folder in (Path(__file__).parent, *folders) for file in sorted(folder.glob("*.md")))
    return {file: _read(file, NAMES, _text) for file in files}


def read_beside(others: Mapping[Path, Runbook], file: Path) -> Runbook:
    """Read one more runbook, wherever it lies. Raises RunbookError for what is wrong with it."""
    others = {path: book for path, book in others.items() if path.resolve() != file.resolve()}
    book = _new_to(others, file, _read(file, NAMES, _text))
    _see_named(file, book, {book.cause, *(each.cause for each in others.values())})
    return book


def _new_to(others: Mapping[Path, Runbook], file: Path, book: Runbook) -> Runbook:
    """Give a runbook that is none of the others' again. Raises RunbookError."""
    for path, other in others.items():
        if other.cause == book.cause:
            raise RunbookError(f"{file}: cause: {book.cause!r} has a runbook already: {path}")
        if both := _xids(book) & _xids(other):
            raise RunbookError(f"{file}: matches: xid {min(both)} is {other.cause}'s already: {path}")
    return book


def _xids(book: Runbook) -> set[int]:
    return {number for match in book.matches for number in match.xid}


def _see_named(file: Path, book: Runbook, books: Collection[Cause]) -> None:
    """See that the causes that a runbook names are there. Raises RunbookError."""
    for key, cause in _named(book):
        if cause not in books:
            raise RunbookError(f"{file}: {key}: no runbook {cause!r}; there are {_join(books)}")


def _named(book: Runbook) -> Iterator[tuple[str, Cause]]:
    """Other causes that a runbook names, and where."""
    yield from (("explains", cause) for cause in book.explains)
    yield from (("behind", cause) for cause in book.behind)
    yield from (("echoes", cause) for cause in book.echoes)
    yield from (("matches: again", Cause(match.again)) for match in book.matches if match.again)


def prose(cause: Cause, directory: Path | None = None, own: Path | None = None) -> str:
    """Give the part of a runbook that people read, as Markdown. Raises RunbookError."""
    return _split(_file(cause, directory, own), _text)[1]


def page(cause: Cause, own: Path | None = None) -> str:
    """Give the same below its title. Raises RunbookError."""
    file = _file(cause, None, own)
    front, text = _front(file, _text), _split(file, _text)[1]
    title = front.get("title", cause) if isinstance(front, dict) else cause
    return f"# {title}\n\n{text.lstrip()}"


def _file(cause: Cause, directory: Path | None, own: Path | None) -> Path:
    folders = (directory or Path(__file__).parent, own)
    files = [folder / f"{cause}.md" for folder in folders if folder is not None]
    return next((each for each in files if each.is_file()), files[0])


def hash_of(runbooks: Mapping[Cause, Runbook]) -> str:
    """Identify what these runbooks decide, whatever their prose says: 16 hexadecimal digits."""
    plain = {cause: to_plain(book) for cause, book in runbooks.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]


def _join(names: Collection[str]) -> str:
    return ", ".join(sorted(names))


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _own_text(file: Path) -> str:
    """Read what decides as the bundled ones do: only if nobody else can have written it."""
    return private.read(file, _LONGEST).decode()


def _split(file: Path, text: Callable[[Path], str]) -> tuple[str, str]:
    try:
        found = _FRONT.match(text(file))
    except private.NotPrivateError as error:
        raise RunbookError(str(error)) from None
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise RunbookError(f"{file}: cannot be read: {why}") from None
    if not found:
        raise RunbookError(f"{file}: does not begin with front matter between two lines of ---")
    return found["yaml"], found["prose"]


def _read(file: Path, predicates: Collection[str], text: Callable[[Path], str]) -> Runbook:
    front = _front(file, text)
    try:
        book: Runbook = from_plain(Runbook, _plain(front))
        _judge(book, file.stem, predicates)
    except ValueError as error:
        raise RunbookError(f"{file}: {str(error).removeprefix('no Runbook: ')}") from None
    return book


def _front(file: Path, text: Callable[[Path], str]) -> Any:
    try:
        return yaml.load(_split(file, text)[0], Loader=_LOADER)  # noqa: S506 - either is a safe one
    except yaml.YAMLError as error:
        raise RunbookError(f"{file}: front matter is not YAML: {' '.join(str(error).split())}") from None


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
        pattern = re.compile(match.log)
    except re.error as error:
        raise RunbookError(f"matches: log: {match.log!r} is no regular expression: {error}") from None
    if match.log and 2 * sum(bool(pattern.search(text)) for text in _ANYTHING) >= len(_ANYTHING):
        raise RunbookError(f"matches: log: {match.log!r} matches everything, such as {_ANYTHING[0]!r}")
