"""Feeds a target with its inputs, in this process; the next one to come is noted where others can see it."""

import importlib
import mmap
import random
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from tests.fuzz.mutate import mutated

_FORM = struct.Struct("<qqqd?")


class Count(NamedTuple):
    """How far a target is."""

    next: int
    refused: int
    accepted: int
    longest_s: float
    """Of processor time, for one input."""
    feeding: bool = True
    """Whether the process has begun to feed."""


NOTHING = Count(0, 0, 0, 0.0, feeding=False)


@dataclass
class Note:
    """A count in a file that outlives the process that writes it."""

    file: mmap.mmap

    @classmethod
    def at(cls, path: Path) -> "Note":
        if not path.exists():
            path.write_bytes(bytes(_FORM.size))
        with path.open("r+b") as file:
            return cls(mmap.mmap(file.fileno(), _FORM.size))

    def read(self) -> Count:
        return Count(*_FORM.unpack(self.file[:]))

    def write(self, count: Count) -> None:
        self.file[:] = _FORM.pack(*count)


def module_of(name: str) -> ModuleType:
    return importlib.import_module(name)


def input_of(module: ModuleType, seeds: list[bytes], seed: str, index: int) -> bytes:
    """Give one input: the same for the same name, seed and index."""
    chance = random.Random(f"{module.__name__} {seed} {index}")
    data = seeds[index] if index < len(seeds) else mutated(seeds, chance)
    shaped: Callable[[bytes, random.Random], bytes] | None = getattr(module, "shaped", None)
    return shaped(data, chance) if shaped else data


def feed(
    name: str, seed: str, folder: Path, until: int, note: Callable[[Count], None], begin: Count = NOTHING
) -> Count:
    """Feed the inputs from `begin.next` on; what is no refusal comes out."""
    module, count = module_of(name), begin
    seeds: list[bytes] = list(module.seeds())
    opened: AbstractContextManager[Callable[[bytes], bool]] = module.opened(folder)
    with opened as take:
        note(count._replace(feeding=True))
        for index in range(begin.next, until):
            data = input_of(module, seeds, seed, index)
            begun = time.process_time()
            accepted = take(data)
            took = time.process_time() - begun
            refused, taken = count.refused + (not accepted), count.accepted + accepted
            count = Count(index + 1, refused, taken, max(count.longest_s, took))
            note(count)
    return count


@contextmanager
def nothing_of(*errors: type[BaseException]) -> Iterator[list[bool]]:
    """Take these errors for a refusal: what it gives is empty then."""
    accepted = [True]
    try:
        yield accepted
    except errors:
        accepted.clear()
