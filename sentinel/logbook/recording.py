"""Recordings as files: an incident's piece of the journal as JSON lines, a header first."""

import json
from collections.abc import Iterator
from typing import Any, Protocol

from sentinel.model.codec import CodecError, Plain
from sentinel.model.ids import IncidentId
from sentinel.model.incident import Incident
from sentinel.model.journal import (
    VERSION,
    Line,
    NewerVersionError,
    Recording,
    line_from_plain,
    line_to_plain,
    upgraded,
)
from sentinel.redact import redacted


class RecordingError(ValueError):
    """A file is no recording, or one that can't be read; one line that says what and where."""


class Recorder(Protocol):
    """The journal, as far as recordings need it."""

    def recording(self, incident: Incident, policy: Plain | None = None) -> Recording:
        """Cut out what replays this incident."""


def export(journal: Recorder, incident: Incident, policy: Plain | None = None) -> str:
    """Give an incident's recording as JSON lines: one header, then one line per fact with its actions."""
    return write(journal.recording(incident, policy))


def write(recording: Recording) -> str:
    """Give a recording's text, without the secrets that an older journal may hold; `read` gives it back."""
    header = {
        "recording": recording.incident,
        "v": VERSION,
        "lines": len(recording.lines),
        "policy": recording.policy,
        "state_seq": recording.state_seq,
        "state": recording.state,
    }
    items = (header, *map(_line_to_plain, recording.lines))
    return "".join(json.dumps(redacted(item)) + "\n" for item in items)


def read(text: str, name: str = "recording") -> Recording:
    """Read a recording. Raises RecordingError with `name` and the line number."""
    rows = _rows(text, name)
    number, header = next(rows, (1, {}))
    if "recording" not in header:
        raise RecordingError(f"{name}: not a recording")
    version = header.get("v")
    if not isinstance(version, int) or version > VERSION:
        raise RecordingError(f"{name}: {NewerVersionError(version if isinstance(version, int) else -1)}")
    try:
        known, policy = upgraded(version, header["state"]), upgraded(version, header["policy"])
        state = (IncidentId(header["recording"]), int(header["state_seq"]), known, policy)
    except (KeyError, TypeError, ValueError) as error:
        raise RecordingError(f"{name}, line {number}: bad header: {error!r}") from None
    lines = tuple(_line(version, row, f"{name}, line {at}") for at, row in rows)
    if len(lines) != header.get("lines", len(lines)):  # an older release did not say how many there are
        whole, there = header["lines"], len(lines)
        raise RecordingError(f"{name}: is cut after line {there + 1}: it holds {there} of {whole} facts")
    return Recording(*state, lines)


def _line_to_plain(line: Line) -> dict[str, Plain]:
    return {
        "seq": line.seq,
        "policy_hash": line.policy_hash,
        "runbooks_hash": line.runbooks_hash,
        **line_to_plain(line.fact, line.decisions),
    }


def _rows(text: str, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, raw in enumerate(text.splitlines(), start=1):
        if not raw.strip():
            continue
        try:
            row = json.loads(raw)
        except (ValueError, RecursionError) as error:
            cut = "is cut: " if number == len(text.splitlines()) and not text.endswith("\n") else ""
            raise RecordingError(f"{name}, line {number}: {cut}{error}") from None
        if not isinstance(row, dict):
            raise RecordingError(f"{name}, line {number}: expected an object")
        yield number, row


def _line(version: int, row: dict[str, Any], where: str) -> Line:
    try:
        fact, decisions, is_whole = line_from_plain(version, row)
        by = str(row["policy_hash"]), str(row["runbooks_hash"])
        return Line(int(row["seq"]), fact, decisions, *by, is_whole)
    except KeyError as error:
        raise RecordingError(f"{where}: no {error}") from None
    except (TypeError, ValueError, CodecError) as error:
        raise RecordingError(f"{where}: {error}") from None
