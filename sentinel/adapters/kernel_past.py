"""Where in a kernel log this boot begins, and which of its lines tell of what was repaired since."""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from sentinel.model.ids import Seconds
from sentinel.model.kernel_line import LONGEST, continues, said

TAIL = 64 << 20
"""So much of a file is looked through for the boot's beginning: half a million lines, in a second."""
_BLOCK = 1 << 20
_REORDERED: Seconds = 1.0
"""Processors stamp lines in parallel, so that a line may be a moment older than the one before it."""
_BOOT = ("Linux version ", "Command line: ", "Kernel command line: ")
"""The kernel's first words (init/version.c, start_kernel)."""
_DRIVER = "NVRM: loading NVIDIA UNIX "
"""The first words of NVIDIA's driver (nv.c), each time that it is loaded."""
_RECOVERED = re.compile(
    r"NVRM: Xid \(PCI:(?P<gpu>[0-9a-fA-F:]+)[^)]*\): 154, .{0,200}action changed from .{0,80}? to 0x0\b",
    re.IGNORECASE,
)
"""The driver asks for no recovery of a GPU any more. A reset that leaves no such line: `undrain`."""
_SOUGHT = (b"Linux version ", b"ommand line: ", _DRIVER.encode(), b" to 0x0")
_STAMPED = re.compile(
    rb"^(?: {0,3}(?:[^\s\[]{2,16} {1,2}\d{1,2} [\d:]{8}|\d{4}-\d\d-\S+) \S+ kernel: )?"
    rb"\[ *(\d{1,10}\.\d{1,9})\]",
    re.MULTILINE,
)
_ADDRESS = len("0000:01:00")
"""Of a PCI address; some drivers write the domain with eight digits."""
_OF_DRIVER = re.compile(rb"NVRM: |nvidia-")


@dataclass(slots=True)
class Past:
    """What was in a log before its reader began; places are offsets in bytes."""

    begin: int = 0
    """The first line of this boot."""
    driver: int = -1
    """Where the driver was loaded last: what it said before is of one that is gone."""
    gpus: dict[bytes, int] = field(default_factory=dict)
    """PCI address → where the driver said last that this GPU needs no recovery any more."""

    @property
    def until(self) -> int:
        """No line from here on is old."""
        return max(self.driver, *self.gpus.values(), -1)

    def is_old(self, place: int, line: bytes) -> bool:
        """Say whether what a line tells was repaired later."""
        if place < self.driver and _OF_DRIVER.search(line):
            return True
        return any(place < repaired and gpu in line.lower() for gpu, repaired in self.gpus.items())


def survey(blocks: Iterable[tuple[int, bytes]]) -> Past:
    """Look through blocks of whole lines, each with its place, for the last boot and the repairs since."""
    past, newest = None, 0.0
    for place, block in blocks:
        past = past or Past(place)
        for found in _STAMPED.finditer(block):
            at = float(found[1])
            if at < newest - _REORDERED:
                past = Past(place + found.start())
            newest = at
        for where, line in _telling(place, block):
            past = _after(past, where, said(line) or "")
    return past or Past()


def _telling(place: int, block: bytes) -> Iterator[tuple[int, str]]:
    """Give the lines that may tell of a boot or a repair, each with its place."""
    begins = set()
    for words in _SOUGHT:
        at, end = block.find(words), 0
        while at >= 0:
            begins.add(block.rfind(b"\n", end, at) + 1 or end)
            end = block.find(b"\n", at) + 1 or len(block)
            at = block.find(words, end)
    for begin in sorted(begins):
        line = _line(block, begin)
        if not begin or not continues(_line(block, block.rfind(b"\n", 0, begin - 1) + 1), line):
            yield place + begin, line


def _line(block: bytes, begin: int) -> str:
    return block[begin : begin + LONGEST].partition(b"\n")[0].decode(errors="replace")


def _after(past: Past, where: int, words: str) -> Past:
    """Take in what the kernel says there; what is of an earlier boot says nothing."""
    if where < past.begin:
        return past
    if words.startswith(_BOOT):
        return Past(where)
    if words.startswith(_DRIVER):
        past.driver = where
    elif found := _RECOVERED.match(words):
        past.gpus[found["gpu"].lower().encode()[-_ADDRESS:]] = where
    return past


def tail(file: int, size: int, since: int = 0) -> Iterator[tuple[int, bytes]]:
    """Give a file's lines since a place, or as many of its last ones, in blocks; only the last may be cut."""
    place = max(since, size - TAIL)
    if place > since:
        place += os.pread(file, _BLOCK, place).find(b"\n") + 1
    while block := os.pread(file, min(_BLOCK, size - place), place):
        whole = block.rfind(b"\n") + 1 or len(block)
        yield place, block[:whole]
        place += whole
