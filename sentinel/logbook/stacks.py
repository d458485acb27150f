"""Stacks folded: of each process the thread that says where it stands, and the others apart."""

import re
from typing import NamedTuple

_RANK = re.compile(r"(?m)^rank -?[0-9]+ \([0-9]+\):")
"""How the dump of one process begins, as the agent writes it."""
_THREAD = re.compile(r"(?m)^Thread ")
"""How `py-spy dump` begins a thread."""
_NAME = re.compile(r'Thread [^\n"]*"([^"\n]*)"')
TRAINS = ("torch/", "/trainer/", "train")
"""What stands in a frame, or in the name, of a thread that trains."""


class Stack(NamedTuple):
    """One process's threads, as text."""

    head: str
    """Whose it is and what the kernel says of it."""
    thread: str
    """The thread that matters; empty where none was told."""
    others: str
    left: int
    """How many the others are."""


def fold(text: str) -> list[Stack]:
    """Part a dump into its processes' stacks; nothing for a text that is no dump."""
    if not (starts := [found.start() for found in _RANK.finditer(text)]):
        return []
    starts[0] = 0
    parts = [text[begin:end] for begin, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    return [_folded(part) for part in parts]


def _folded(text: str) -> Stack:
    starts = [found.start() for found in _THREAD.finditer(text)]
    if not starts:
        return Stack(text.strip("\n"), "", "", 0)
    ends = [*starts[1:], len(text)]
    threads = [text[begin:end].strip("\n") for begin, end in zip(starts, ends, strict=True)]
    telling = max(range(len(threads)), key=lambda number: (*_tells(threads[number]), -number))
    others = [thread for number, thread in enumerate(threads) if number != telling]
    return Stack(text[: starts[0]].strip("\n"), threads[telling], "\n".join(others), len(others))


def _tells(thread: str) -> tuple[bool, bool, bool, int]:
    """Say how much a thread tells: that it trains, that it runs, that it is the main one, how deep it is."""
    name = found[1] if (found := _NAME.match(thread)) else ""
    head, _, frames = thread.partition("\n")
    trains = any(each in frames for each in TRAINS[:2]) or TRAINS[2] in name
    return trains, "(active" in head, name == "MainThread", frames.count("\n")
