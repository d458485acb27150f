"""What torch's flight recorder says of a rank's collectives, as a line that people and the core read."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

MOST_GROUPS = 64
"""Groups of one rank that are told: a mesh of five dimensions has fewer."""
_WORD = re.compile(r"[^\w.:-]")
_LINE = re.compile(
    r"flight recorder of rank (?P<rank>\d{1,7}): (?P<is_in>in|has left) "
    r"(?P<what>[\w.:-]{1,60}) (?P<number>\d{1,18}) of group (?P<group>[\w.:-]{1,60})"
)


class Flight(NamedTuple):
    """The newest collective of one rank in one process group."""

    rank: int
    group: str
    what: str
    """Such as `nccl:all_reduce`."""
    number: int
    """Its place among the group's collectives."""
    is_in: bool
    """It has entered and not left it."""

    def __str__(self) -> str:
        where = "in" if self.is_in else "has left"
        what, group = (_WORD.sub("_", word)[:60] or "_" for word in (self.what, self.group))
        return f"flight recorder of rank {self.rank}: {where} {what} {self.number} of group {group}"


def read(texts: Iterable[str]) -> Iterator[Flight]:
    """Find such lines in what an order brought; whatever else stands there is left out."""
    lines = (line for text in texts for line in text.splitlines())
    for found in filter(None, map(_LINE.fullmatch, lines)):
        rank, number = int(found["rank"]), int(found["number"])
        yield Flight(rank, found["group"], found["what"], number, found["is_in"] == "in")
