"""The logbook's folder: one Markdown file per incident and an index of JSON lines to search."""

import dataclasses
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from sentinel import private
from sentinel.logbook.row import Row
from sentinel.logbook.search import Index, parse
from sentinel.logbook.what_people_say import with_judgements
from sentinel.model.incident import Incident
from sentinel.model.journal import Line
from sentinel.model.judgement import Judgement
from sentinel.model.runbook import Runbook
from sentinel.redact import redact

_SAFE = re.compile(r"[\w.-]+")
_NUMBERED = re.compile(r"I-([0-9]{1,9})\.md")
_JOURNAL, _DIGITS = "journal", 19
_LONGEST = 16 << 20
"""Bytes of an entry, or of a row of the index, that are looked at."""
_LATEST = 1e11
"""No incident opens after the year 5138, where dates have four digits and a row has a place."""
_DECODER = msgspec.json.Decoder(Row)


class Logbook:
    """Writes entries and finds them again; an incident written twice keeps its newest entry."""

    def __init__(self, folder: str | os.PathLike[str], *, read_only: bool = False) -> None:
        """Open or make the folder; an index that is no file of ours is set aside. Raises OSError.

        `read_only` is for who reads beside the controller, and changes nothing but what a search needs.
        """
        self.folder = Path(folder) if read_only else private.make_folder(Path(folder))
        self._index = self.folder / "index.jsonl"
        self._words = Index(self.folder)
        if not read_only:
            self._tidy()

    def write(
        self,
        incident: Incident,
        lines: Iterable[Line] = (),
        runbook: Runbook | None = None,
        judged: Sequence[Judgement] = (),
    ) -> Path:
        """Write the incident's entry and its row. Raises OSError when the disk won't take it."""
        from sentinel.logbook.entry import render, row  # who only reads needs none of it

        path, last = self._path(incident.id), incident.is_over
        text, found = render(incident, lines, runbook), row(incident, runbook)
        text = with_judgements(text, judged) if judged else text
        private.write(path, _bytes_of(text), durable=last)
        _append(self._index, _line(_judged(found, judged)), durable=last)
        return path

    def judge(self, incident: str, judged: Sequence[Judgement]) -> None:
        """Have an entry end with what people say of it, if there is one. Raises OSError as `write`."""
        found, text = self.row(incident), self.entry(incident)
        if found is None or text is None or found == _judged(found, judged):
            return
        private.write(self._path(incident), _bytes_of(with_judgements(text, judged)), durable=True)
        _append(self._index, _line(_judged(found, judged)), durable=True)

    def rows(self) -> list[Row]:
        """Give every incident's newest row, newest incident first."""
        newest: dict[str, Row] = {}
        for line in self._lines():
            found = _row(line)
            if found is not None:
                newest[found.incident] = found
        return sorted(newest.values(), key=lambda found: (found.opened, found.incident), reverse=True)

    def search(self, query: str) -> list[Row]:
        """Give the rows that a query finds, newest first; all for an empty one. Raises QueryError."""
        wanted, rows = parse(query, time.time()), self.rows()
        named = self._words.matching(wanted.words, rows, self.entry) if wanted.words else None
        return [each for each in rows if wanted.fits(each) and (named is None or each.incident in named)]

    def entry(self, incident: str) -> str | None:
        """Give an incident's entry as Markdown, None when there is none."""
        if not _SAFE.fullmatch(incident) or incident.startswith("."):
            return None
        try:
            return private.read(self._path(incident), _LONGEST).decode(errors="replace")
        except OSError:
            return None

    def row(self, incident: str) -> Row | None:
        """Give an incident's newest row, None when there is none."""
        return next((found for found in self.rows() if found.incident == incident), None)

    def highest(self) -> int:
        """Give the highest number of an incident with an entry, 0 without any."""
        names = (_NUMBERED.fullmatch(path.name) for path in self.folder.iterdir())
        return max((int(name[1]) for name in names if name), default=0)

    def note(self, journal: str, line: int) -> None:
        """Keep how far a journal was written: an older copy of it, put back, is told by that."""
        with suppress(OSError):  # a full disk; the next note tells
            private.write(self.folder / _JOURNAL, f"{journal} {line}\n".encode())

    def noted(self) -> tuple[str, int]:
        """Give a journal's id and a line that it is known to have had; ("", 0) if none is."""
        try:
            journal, line = private.read(self.folder / _JOURNAL, 200).decode().split()
            return (journal, int(line)) if len(line) < _DIGITS else ("", 0)
        except (OSError, ValueError):
            return "", 0

    def _tidy(self) -> None:
        """Drop outdated rows of an index that is mostly those."""
        try:
            rows = self.rows()
            if sum(1 for _ in self._lines()) > 4 * len(rows) + 4:
                text = "".join(f"{_line(found)}\n" for found in reversed(rows))
                private.write(self._index, _bytes_of(text), durable=True)
        except private.NotPrivateError as error:
            _log().error("index-unreadable", error=str(error), set_aside=str(private.set_aside(self._index)))
        # On a full disk the index stays long, and the controller starts all the same.
        except OSError as error:
            _log().warning("index-not-tidied", error=str(error))

    def _path(self, incident: str) -> Path:
        return self.folder / f"{incident}.md"

    def _lines(self) -> Iterator[bytes]:
        try:
            descriptor = private.open_file(self._index, os.O_RDONLY)
        except FileNotFoundError:
            return
        with os.fdopen(descriptor, "rb") as file:
            while line := file.readline(_LONGEST):
                yield line


def _log() -> Any:
    import structlog  # takes as long as reading the index

    return structlog.get_logger(logger_name="logbook")


def _judged(found: Row, judged: Sequence[Judgement]) -> Row:
    return dataclasses.replace(found, judged=tuple(redact(str(each)) for each in judged))


def _line(found: Row) -> str:
    return json.dumps(dataclasses.asdict(found))


def _row(line: bytes) -> Row | None:
    """Read a row; a line torn by a crash or of another version is no row, its entry is still there."""
    try:
        found = _DECODER.decode(line)
    except (ValueError, RecursionError):
        return None
    return found if 0.0 <= found.opened <= _LATEST else None


def _bytes_of(text: str) -> bytes:
    """What is no character is spelled out."""
    return text.encode(errors="backslashreplace")


def _append(path: Path, line: str, *, durable: bool) -> None:
    """Start on a line of its own even after a torn one."""
    with os.fdopen(private.open_file(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+b") as file:
        end = file.seek(0, os.SEEK_END)
        torn = False
        if end:
            file.seek(end - 1)
            torn = file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + line.encode() + b"\n")
        file.flush()
        if durable:  # only resolved incidents: an open one's entry is soon written again
            os.fsync(file.fileno())
