"""What NCCL's Inspector has written of a rank's collectives: the newest of each communicator, and how fast.

Since NCCL 2.28 this profiler plug-in writes a JSON object a line to `HOST-pidPID.log` in the folder that
NCCL_INSPECTOR_DUMP_DIR names (https://github.com/NVIDIA/nccl, ext-profiler/inspector). Where a rank has it,
its figures are evidence: who is behind, and what was slower than it used to be. Nothing is concluded from it.
"""

import os
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median

import msgspec

from sentinel.heartbeat.process import contents, own_number
from sentinel.model.ids import Seconds

FOLDER = b"NCCL_INSPECTOR_DUMP_DIR="
_ENVIRONMENT = 1 << 20
_TAIL = 1 << 18
"""The end of a file that grows with each collective: some hundred of them."""
_MOST = 8
"""Communicators told of a rank: those that were used last."""
_NAME = 32


class _Header(msgspec.Struct):
    id: str
    n_ranks: int


class _Metadata(msgspec.Struct):
    dump_timestamp_us: int


class _Collective(msgspec.Struct):
    coll: str
    coll_sn: int
    coll_msg_size_bytes: int
    coll_exec_time_us: float
    coll_busbw_gbs: float


class _Line(msgspec.Struct):
    header: _Header
    metadata: _Metadata
    coll_perf: _Collective


_DECODER = msgspec.json.Decoder(_Line)


class Inspecting:
    """Reads what ranks' Inspectors have written, on a thread: the folder may lie on a server that is gone."""

    def __init__(self, processes: Mapping[int, int]) -> None:
        """`processes`: this namespace's number of each process, by rank."""
        self._said: list[str] = []
        self._thread = threading.Thread(target=self._read, args=(dict(processes),), daemon=True)
        self._thread.start()

    def _read(self, processes: Mapping[int, int]) -> None:
        for rank, pid in processes.items():
            self._said += [f"  rank {rank}, {each}" for each in _of_process(pid, time.time())]

    def finish(self, until: Seconds) -> str:
        """Give what was read by then; empty if there is nothing."""
        self._thread.join(max(0.0, until - time.monotonic()))
        said = list(self._said)
        return "\n".join(["NCCL's Inspector:", *said]) if said else ""


def _of_process(pid: int, now: float) -> Iterator[str]:
    try:
        folder = _folder(pid)
        if folder is None:
            return
        files = sorted(folder.glob(f"*-pid{own_number(pid)}.log"), key=lambda each: each.stat().st_mtime)
        lines = _tail(files[-1]).splitlines() if files else []
    except OSError:
        return
    newest: dict[str, _Line] = {}
    rates: dict[tuple[str, str, int], list[float]] = {}
    for line in lines:
        try:
            found = _DECODER.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue  # cut off at either end, or of a release that writes something else
        newest.pop(found.header.id, None)  # the newest last
        newest[found.header.id] = found
        rates.setdefault(_kind(found), []).append(found.coll_perf.coll_busbw_gbs)
    for found in list(newest.values())[-_MOST:]:
        yield _words(found, median(rates[_kind(found)]), now)


def _folder(pid: int) -> Path | None:
    """Give the folder as the process sees it, in its container, too."""
    words = contents(f"/proc/{pid}/environ", _ENVIRONMENT).split(b"\0")
    named = next((word.removeprefix(FOLDER) for word in words if word.startswith(FOLDER)), b"")
    if not named:
        return None
    inside = os.fsdecode(named)
    return Path(f"/proc/{pid}/root{inside}" if inside.startswith("/") else f"/proc/{pid}/cwd/{inside}")


def _tail(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            return b""
        return os.pread(descriptor, _TAIL, max(0, about.st_size - _TAIL))
    finally:
        os.close(descriptor)


def _kind(line: _Line) -> tuple[str, str, int]:
    return line.header.id, line.coll_perf.coll, line.coll_perf.coll_msg_size_bytes


def _words(line: _Line, usual: float, now: float) -> str:
    done, ago = line.coll_perf, now - line.metadata.dump_timestamp_us / 1e6
    return (
        f"communicator {_plain(line.header.id)} of {line.header.n_ranks}: {_plain(done.coll)} {done.coll_sn} "
        f"of {done.coll_msg_size_bytes / 1e6:.4g} MB took {done.coll_exec_time_us / 1e3:.4g} ms, "
        f"{done.coll_busbw_gbs:.4g} GB/s (usually {usual:.4g}), {ago:.1f} s ago"
    )


def _plain(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text[:_NAME])
