"""The logbook's folder: one Markdown file per incident and an index of JSON lines to search."""

import dataclasses
import json
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from sentinel.logbook.entry import Row, render, row
from sentinel.model.incident import Incident, Stage
from sentinel.model.journal import Line
from sentinel.model.runbook import Runbook

_SAFE = re.compile(r"[\w.-]+")
_NUMBERED = re.compile(r"I-(\d+)\.md")


class Logbook:
    """Writes entries and finds them again; an incident written twice keeps its newest entry."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._index = self.folder / "index.jsonl"
        self._tidy()

    def write(self, incident: Incident, lines: Iterable[Line] = (), runbook: Runbook | None = None) -> Path:
        """Write the incident's entry and its row. Raises OSError when the disk won't take it."""
        path, last = self._path(incident.id), incident.stage is Stage.RESOLVED
        _replace(path, render(incident, lines, runbook), durable=last)
        _append(self._index, _line(row(incident, runbook)), durable=last)
        return path

    def rows(self) -> list[Row]:
        """Give every incident's newest row, newest incident first."""
        newest: dict[str, Row] = {}
        for line in self._lines():
            found = _row(line)
            if found is not None:
                newest[found.incident] = found
        return sorted(newest.values(), key=lambda found: (found.opened, found.incident), reverse=True)

    def search(self, query: str) -> list[Row]:
        """Give the rows in which every word of the query occurs, newest first."""
        wanted = set(query.casefold().split())
        return [found for found in self.rows() if _holds(_haystack(found), wanted)]

    def entry(self, incident: str) -> str | None:
        """Give an incident's entry as Markdown, None when there is none."""
        if not _SAFE.fullmatch(incident) or incident.startswith("."):
            return None
        try:
            return self._path(incident).read_text(encoding="utf-8")
        except OSError:
            return None

    def highest(self) -> int:
        """Give the highest number of an incident with an entry, 0 without any."""
        names = (_NUMBERED.fullmatch(path.name) for path in self.folder.iterdir())
        return max((int(name[1]) for name in names if name), default=0)

    def _tidy(self) -> None:
        """Drop outdated rows of an index that is mostly those."""
        rows = self.rows()
        if len(self._lines()) > 4 * len(rows) + 4:
            with suppress(OSError):  # a full disk keeps the long index, and nobody from starting
                _replace(self._index, "".join(f"{_line(found)}\n" for found in reversed(rows)), durable=True)

    def _path(self, incident: str) -> Path:
        return self.folder / f"{incident}.md"

    def _lines(self) -> list[str]:
        try:
            return self._index.read_text().split("\n")
        except FileNotFoundError:
            return []


def _line(found: Row) -> str:
    return json.dumps(dataclasses.asdict(found))


def _row(line: str) -> Row | None:
    """Read a row; a line torn by a crash or of another version is no row, its entry is still there."""
    try:
        values = json.loads(line)
        suspects = tuple(tuple(place) for place in values["suspects"])
        return Row(**{**values, "evicted": tuple(values["evicted"]), "suspects": suspects})
    except (ValueError, TypeError, KeyError):
        return None


def _holds(text: str, wanted: Iterable[str]) -> bool:
    return all(word in text for word in wanted)


def _haystack(found: Row) -> str:
    parts = (found.incident, found.cause, found.title, found.where, found.job, found.stage, found.words)
    return " ".join((*parts, *found.evicted)).casefold()


def _replace(path: Path, text: str, *, durable: bool) -> None:
    """Readers see the old file or the new one, never half of one; what is no character is spelled out."""
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
        _settle(file, durable=durable)
    fresh.replace(path)


def _append(path: Path, line: str, *, durable: bool) -> None:
    """Start on a line of its own even after a torn one."""
    with path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        torn = False
        if end:
            file.seek(end - 1)
            torn = file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + line.encode() + b"\n")
        _settle(file, durable=durable)


def _settle(file: IO[Any], *, durable: bool) -> None:
    """Wait for the disk only for an incident's last word: earlier ones are soon written again."""
    file.flush()
    if durable:
        os.fsync(file.fileno())
