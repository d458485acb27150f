"""The notes that ranks leave for their agent: events as files, such as an exception."""

import json
import time
from pathlib import Path
from typing import Protocol

from msgspec.structs import replace

from sentinel import private
from sentinel.gang.notices import CHECKS, SUFFIX, Note
from sentinel.model.codec import from_plain
from sentinel.model.ids import WorkerId
from sentinel.model.report import AT_START, FindingSeen, RaisedSeen
from sentinel.runtime.agent.folder import Folder
from sentinel.runtime.agent.spool import Spool

_MOST = 512 * 1024
"""Bytes of a note: a traceback, and the losses of tens of thousands of ranks."""


class Workers(Protocol):
    """Who lives on this node."""

    def is_known(self, worker: WorkerId, pid: int) -> bool:
        """Whether this process is, or was lately, the worker of this name."""


class NoteError(ValueError):
    """A note says what no rank may say; one line says what."""


class Notes:
    """Each note is told once, and removed when the controller has it. Raises NotPrivateError."""

    def __init__(self, directory: Path, spool: Spool, workers: Workers) -> None:
        self._folder = Folder(directory, SUFFIX, "rank-note")
        self._spool = spool
        self._workers = workers

    def collect(self) -> None:
        """Take in every new note; one that is none is logged, left where it is and passed over."""
        for path in self._folder.new():
            try:
                self._take(path)
            except (OSError, ValueError, RecursionError) as error:
                self._folder.refuse(path, error)

    def _take(self, path: Path) -> None:
        """Give a note to the spool. Raises OSError, ValueError, RecursionError."""
        content = private.read(path, _MOST + 1)
        if len(content) > _MOST:
            raise NoteError(f"is larger than {_MOST} bytes")
        note: Note = from_plain(Note, json.loads(content))
        self._check(note)
        if isinstance(note, RaisedSeen):  # both by this node's clock: who was not here reads it late
            note = replace(note, age_s=max(0.0, time.time() - path.stat().st_mtime))
        self._spool.add(note, lambda: path.unlink(missing_ok=True))

    def _check(self, note: Note) -> None:
        """See that a rank speaks of what is its own. Raises NoteError."""
        match note:
            case RaisedSeen():
                ranked = note.rank >= 0 or note.kind == AT_START
                if not (ranked and self._workers.is_known(note.worker, note.pid)):
                    raise NoteError(f"rank {note.rank}, {note.worker} ({note.pid}), is none of this node's")
            case FindingSeen(finding=finding):
                if finding.check not in CHECKS:
                    raise NoteError(f"a rank does not speak for the {finding.check} check")
