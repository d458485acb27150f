"""What a report is made of."""

from typing import NamedTuple

from sentinel.logbook.row import Row
from sentinel.logbook.tally import Entry


class Past(NamedTuple):
    """The incidents and the tally of a logbook, or of a journal."""

    rows: list[Row]
    """Of each incident the newest."""
    entries: list[Entry]
