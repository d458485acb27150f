"""The notes that ranks leave for their agent: events as files, such as an exception."""

import json
import os
from pathlib import Path

import structlog

from sentinel.model.codec import from_plain
from sentinel.model.report import Event
from sentinel.runtime.agent.spool import Spool

log = structlog.get_logger(logger_name="agent")


class Notes:
    """Each note is told once, and removed when the controller has it."""

    def __init__(self, directory: Path, spool: Spool) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._spool = spool
        self._read: set[Path] = set()

    def collect(self) -> None:
        """Take in every new note; one that does not parse is logged, left where it is and passed over."""
        for entry in os.scandir(self._directory):
            path = self._directory / entry.name
            if not entry.name.startswith(".") and path.suffix == ".json" and path not in self._read:
                self._read.add(path)
                self._take(path)

    def _take(self, path: Path) -> None:
        try:
            event: Event = from_plain(Event, json.loads(path.read_text()))
        except (OSError, ValueError, RecursionError) as error:
            log.warning("rank-note-refused", path=str(path), error=str(error))
            return
        self._spool.add(event, lambda: self._forget(path))

    def _forget(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._read.discard(path)
