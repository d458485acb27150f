"""Looks at volumes through children: one that does not answer keeps its child, and nobody waits for it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec

from sentinel.checks._sysfs import UnreadableError
from sentinel.ready import is_ready

CHILD = (sys.executable, "-I", "-S", str(Path(__file__).with_name("_volume_child.py")))
PATIENCE_S = 0.25
"""A volume in order says how full it is within milliseconds."""
START_S = 2.0
"""A child that has to start first takes 50 more, on a busy node a second. All volumes share this patience."""
TRY_EVERY_S = 60.0
"""A mebibyte a minute and node is no load, also where thousands share a volume."""
_LARGEST = 1 << 16


class Answer(msgspec.Struct, frozen=True):
    """What one look at a volume gave; sizes in bytes, times in seconds."""

    total: int = 0
    free: int = 0
    files: int = 0
    """How many it can hold; 0 where it does not say."""
    files_free: int = 0
    read_only: bool = False
    error: str = ""
    """Why it can't be asked."""
    missing: str = ""
    """What has to be installed before it can be asked."""
    write_s: float | None = None
    """To write and sync a mebibyte; None where that was not tried."""
    read_s: float | None = None
    refused: str = ""
    """It is not ours to write to."""
    failed: str = ""
    """Why the file could not be written and read."""
    failed_with: str = ""
    """The name of the error, such as `EIO`, if either failed."""


def is_store(path: str) -> bool:
    """Say whether a volume is an object store, given as a URL."""
    return "://" in path


def trial_name(node: str) -> str:
    """Name the file that a node tries a volume with: no two nodes meet in it."""
    return f".sentinel-probe-{re.sub(r'[^0-9A-Za-z.-]', '_', node)}"


@dataclass(slots=True)
class _Child:
    """A process that answers, or is left at a volume that does not."""

    process: subprocess.Popen[bytes]
    since: float = 0.0
    tries: bool = False

    def ask(self, path: str, trial: str) -> None:
        assert self.process.stdin is not None
        self.since, self.tries = time.monotonic(), bool(trial)
        self.process.stdin.write(msgspec.json.encode((path, trial)) + b"\n")

    def answer(self, within_s: float) -> Answer | None:
        """Give its answer; None if it gives none in time. Raises UnreadableError if it died."""
        assert self.process.stdout is not None
        if not is_ready(self.process.stdout, within_s):
            return None
        line = os.read(self.process.stdout.fileno(), _LARGEST)
        try:
            return msgspec.json.decode(line, type=Answer)
        except msgspec.DecodeError:
            self.end()
            raise UnreadableError("the process that looks at the volume died") from None

    def end(self) -> None:
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()


@dataclass(slots=True)
class Volume:
    """What is known of one volume."""

    path: str
    answer: Answer | None = None
    """The newest one."""
    tried: tuple[Answer, ...] = ()
    """The newest ones in which it was written to, oldest first."""
    waits_s: float = 0.0
    """For how long it has not answered."""
    error: str = ""
    """Why nothing was learned this time."""


@dataclass
class Pool:
    """All volumes of a node. It lives as long as its prober: the next one knows nothing at first."""

    trial: Callable[[str], str]
    """Name of the file to try in a directory; empty where none is to be."""
    keep: int = 3
    command: Sequence[str] = CHILD
    every_s: float = TRY_EVERY_S
    _volumes: dict[str, Volume] = field(default_factory=dict)
    _idle: list[_Child] = field(default_factory=list)
    _asked: dict[str, _Child] = field(default_factory=dict)
    _tried: dict[str, float] = field(default_factory=dict)
    _patience_s: float = START_S
    """What is left of it for children that have to start."""

    def look(self, paths: Sequence[str], patience_s: float = 0.0) -> tuple[Volume, ...]:
        """Look at each volume, and try it if that is due.

        Nobody waits long for one to say how full it is, and not again for one that hangs.
        What comes of a try is taken by the next look, unless `patience_s` says how long to wait for it.
        """
        self._patience_s = START_S
        volumes = [self._volumes.setdefault(path, Volume(path)) for path in dict.fromkeys(paths)]
        for volume in volumes:
            try:
                self._look(volume, patience_s)
            except (UnreadableError, OSError) as error:
                self._asked.pop(volume.path, None)
                volume.error = str(error)
        return tuple(replace(volume) for volume in volumes)

    def close(self) -> None:
        """End all children; one that hangs ends when its volume lets it."""
        for child in (*self._idle, *self._asked.values()):
            child.end()
        self._idle.clear()
        self._asked.clear()

    def _look(self, volume: Volume, patience_s: float) -> None:
        volume.error, now = "", time.monotonic()
        if volume.path in self._asked and not self._take(volume, 0.0):
            return
        starts = not self._idle
        self._ask(volume.path, "")
        answered = self._take(volume, max(patience_s, self._patience_s if starts else PATIENCE_S))
        self._patience_s -= starts * (time.monotonic() - now)
        if not answered or now < self._tried.get(volume.path, now):
            return
        self._tried[volume.path] = now + self.every_s
        is_there = volume.answer is not None and not (volume.answer.error or volume.answer.missing)
        if trial := self.trial(volume.path) if is_there else "":
            self._ask(volume.path, trial)
            if patience_s:
                self._take(volume, patience_s)

    def _ask(self, path: str, trial: str) -> None:
        child = self._idle.pop() if self._idle else _start(self.command)
        self._asked[path] = child
        child.ask(path, trial)

    def _take(self, volume: Volume, within_s: float) -> bool:
        """Take the answer that a volume owes; says whether there was one."""
        child = self._asked[volume.path]
        answer = child.answer(within_s)
        if answer is None:
            volume.waits_s = time.monotonic() - child.since
            return False
        self._idle.append(self._asked.pop(volume.path))
        volume.answer, volume.waits_s = answer, 0.0
        if child.tries:
            volume.tried = (*volume.tried, answer)[-self.keep :]
        return True


def _start(command: Sequence[str]) -> _Child:
    """Start one; when it ends with its prober it has nothing to say."""
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    return _Child(subprocess.Popen(command, bufsize=0, stdin=pipe, stdout=pipe, stderr=nowhere))
