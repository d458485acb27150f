"""Which process is Ray's raylet on this node, and whether it runs: seen from `/proc`, without Ray."""

import os
import time
from collections.abc import Collection, Iterable, Iterator

from sentinel.heartbeat import process_name
from sentinel.heartbeat.process import contents, state_and_start
from sentinel.model.check import RankProcess, Raylet
from sentinel.model.ids import Pid, Seconds

_NAME = "raylet"
"""What the kernel calls it."""
_ADDRESS = "--node_ip_address="
"""With this it is started: several raylets on one machine have an address each."""
_COMMAND_SIZE = 65536
_SEARCH_EVERY: Seconds = 1.0
"""It is looked for no oftener."""
_LIST_SHARE = 0.001
"""So much of a processor listing `/proc` may take: a large host has thousands of processes."""
_LIST_PAUSE: Seconds = 10.0
"""The longest pause that follows from it."""
_FORGET_EVERY: Seconds = 60.0
"""After this each process is looked at again: its number may be another one's by now, or it may have become
a raylet late."""
_TICKS = os.sysconf("SC_CLK_TCK")


class RayletWatch:
    """The raylet of one node, once it was seen: that of its address, or the one that started its ranks."""

    def __init__(self, address: str, *, was_seen: bool = False) -> None:
        """`was_seen`: an agent before this one has seen it."""
        self._address = address
        self._was_seen = was_seen
        self._known: tuple[Pid, int] | None = None
        """(pid, start time) of the one that runs."""
        self._again = False
        """Another one was seen before that."""
        self._search_at: Seconds = 0.0
        self._list_at: Seconds = 0.0
        self._strangers: set[str] = set()
        """Processes that were called otherwise at two looks: a fork is called as its parent for a moment."""
        self._new: set[str] = set()
        """Those that were looked at once."""
        self._forget_at: Seconds = 0.0

    def look(self, ranks: Iterable[RankProcess]) -> Raylet | None:
        """Say whether it runs; None where none was ever seen here."""
        if self._known is not None and not _runs(*self._known):
            self._known, self._search_at, self._list_at = None, 0.0, 0.0
        if self._known is None and (now := time.monotonic()) >= self._search_at:
            self._search_at = now + _SEARCH_EVERY
            self._known, self._again = self._find({*_parents(ranks)}, now), self._was_seen
        if self._known is None:
            return Raylet(0, 0.0) if self._was_seen else None
        self._was_seen = True
        return Raylet(self._known[0], _age(self._known[1]), is_first=not self._again)

    def _find(self, parents: Collection[Pid], now: Seconds) -> tuple[Pid, int] | None:
        for pid in dict.fromkeys((*parents, *self._called_so(now))):
            if process_name(pid) != _NAME or not _is_ours(pid):  # the cheapest first
                continue
            started, address = state_and_start(pid)[1], _address(pid)
            if _runs(pid, started) and (pid in parents or address == self._address):
                self._address = address
                return pid, started
        return None

    def _called_so(self, now: Seconds) -> list[Pid]:
        """Give the processes of this machine that have its name, by reading only what may have changed."""
        if now < self._list_at:
            return []
        began = time.thread_time()
        listed = {*filter(str.isdigit, os.listdir("/proc"))}  # noqa: PTH208 (names are all that is wanted)
        if now >= self._forget_at:
            self._strangers, self._forget_at = set(), now + _FORGET_EVERY
        looked_at = listed - self._strangers
        named = {pid for pid in looked_at if process_name(int(pid)) == _NAME}
        others = looked_at - named
        self._strangers = (self._strangers & listed) | (others & self._new)
        self._new = others
        self._list_at = now + min((time.thread_time() - began) / _LIST_SHARE, _LIST_PAUSE)
        return sorted(map(int, named))  # one comes before the processes that it starts


def _parents(ranks: Iterable[RankProcess]) -> Iterator[Pid]:
    """Give the processes that started these."""
    for rank in ranks:
        try:
            stat = contents(f"/proc/{rank.pid}/stat", _COMMAND_SIZE)
        except OSError:  # it has ended
            continue
        yield int(stat.rpartition(b")")[2].split()[1])


def _is_ours(pid: Pid) -> bool:
    """Anybody may call a process so: Ray runs as the user who watches it."""
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid()  # noqa: PTH116 (asked all day)
    except OSError:
        return False


def _address(pid: Pid) -> str:
    try:
        words = contents(f"/proc/{pid}/cmdline", _COMMAND_SIZE).decode(errors="replace").split("\0")
    except OSError:
        return ""
    return next((word.removeprefix(_ADDRESS) for word in words if word.startswith(_ADDRESS)), "")


def _runs(pid: Pid, started: int) -> bool:
    """Say whether it still is that raylet: a fork of one is called so until it becomes a worker."""
    state, now = state_and_start(pid)
    return state not in "XZ" and now == started and process_name(pid) == _NAME


def _age(started: int) -> Seconds:
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - started / _TICKS)
