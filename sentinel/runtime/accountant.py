"""Counts what happens into the logbook's tally: spans as they end, and what lasts every ten minutes."""

from contextlib import suppress
from pathlib import Path

import structlog

from sentinel.core.state import State
from sentinel.logbook import tally_file
from sentinel.logbook.counting import STALL_S, Tally
from sentinel.logbook.tally import Entry
from sentinel.model.fact import Fact
from sentinel.model.ids import Instant, Seconds

log = structlog.get_logger(logger_name="controller")

TELLS_EVERY_S: Seconds = 600.0
"""What lasts is told this often: a controller that is killed leaves no more than that to be guessed."""
AWAY_S: Seconds = 7200.0
"""A controller that was away for less takes what was so around it as what was so meanwhile."""
MOST_KEPT = 100_000
"""Entries that wait for a disk that takes nothing; further ones are not counted."""


class Accountant:
    """Keeps the tally of one controller. All but `write` is called where facts are folded."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tally: Tally | None = None
        self._waiting: list[Entry] = []
        """Not written yet."""
        self._told: Instant = 0.0
        """When it was told last of what lasts."""

    def changed(self, state: State, fact: Fact) -> None:
        """Count a fact with the state after it."""
        if self._tally is None:
            self._tally, self._told = Tally(state, self._goes_on_from(fact.at)), fact.at
        self._waiting += self._tally.take(state, fact)

    def look(self, now: Instant) -> None:
        """Tell of what lasts, if that is due."""
        if self._tally is not None and now > self._told + TELLS_EVERY_S:
            self._told = now
            self._waiting += self._tally.flush(now, STALL_S)

    def due(self) -> list[Entry]:
        """Give what is to be written, and forget it."""
        waiting, self._waiting = self._waiting, []
        return waiting

    def write(self, entries: list[Entry]) -> list[Entry]:
        """Write entries; gives those that the disk won't take, to be written the next time."""
        try:
            tally_file.append(self._folder, entries)
        except OSError as error:
            log.warning("not-counted", error=str(error))
            return entries
        return []

    def keep(self, entries: list[Entry]) -> None:
        """Write these before others, the next time."""
        self._waiting = [*entries, *self._waiting][:MOST_KEPT]

    def close(self, now: Instant) -> None:
        """Write what lasts, too, before the controller ends."""
        if self._tally is not None:
            self.write([*self.due(), *self._tally.flush(now)])

    def unwritten(self, now: Instant) -> list[Entry]:
        """Give what no file holds yet, until now: what waits, and what lasts."""
        lasting = self._tally.lasting(now) if self._tally is not None else []
        return [*self._waiting, *lasting]

    def _goes_on_from(self, now: Instant) -> Instant:
        """Give the moment up to which an earlier controller has counted, if that was a short while ago."""
        with suppress(OSError):
            told = tally_file.end_of(self._folder)
            if now - AWAY_S < told <= now:
                return told
        return now
