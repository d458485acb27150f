"""Stacks of ranks that hang, taken without stopping them and without waiting for them."""

import contextlib
import queue
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from sentinel.model.counted import counted
from sentinel.model.ids import Seconds
from sentinel.model.report import OrderDone, StacksNow
from sentinel.runtime.agent import flights, ras
from sentinel.runtime.agent.inspector import Inspecting

_PYSPY = shutil.which("py-spy", path=Path(sys.executable).parent) or "py-spy"
"""Beside the interpreter as a rule, else wherever PATH has it."""
_GRACE: Seconds = 0.2
FIRST = 0
"""Of a job's ranks, the one on whose node NCCL is asked: it answers for all."""


class StackTaker:
    """Takes stacks on a thread of its own for each order, and nudges the loop when they are there."""

    def __init__(self, nudge: Path) -> None:
        self._nudge = nudge
        self._done: queue.SimpleQueue[OrderDone] = queue.SimpleQueue()

    def begin(self, order: StacksNow, records: Mapping[int, Path] | None = None) -> None:
        """Start to take the stacks of an order's processes, and their own word, by rank and record."""
        threading.Thread(target=self._collect, args=(order, records or {}), daemon=True).start()

    def done(self) -> Iterator[OrderDone]:
        """Give what is finished by now, each once."""
        while not self._done.empty():
            yield self._done.get()

    def _collect(self, order: StacksNow, records: Mapping[int, Path]) -> None:
        asked = time.monotonic()
        flights.ask(records)
        of_job = ras.begin() if FIRST in records else None
        inspecting = Inspecting({rank: pid for rank, pid in order.processes if pid})
        complete, stacks = collect(order.processes, order.deadline)
        until = min(asked + flights.WAIT_S, asked + order.deadline - _GRACE)
        said = ["\n".join(map(str, flights.take(records, until)))]
        said += [ras.finish(of_job, asked + order.deadline - _GRACE)] if of_job else []
        said += [inspecting.finish(until)]
        detail = f"stacks of {counted(len(stacks), 'process')}" + ("" if complete else ", not all complete")
        self._done.put(OrderDone(order.order, complete, detail, (*stacks, *filter(None, said))))
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nudge:
            nudge.sendto(b"", str(self._nudge))


def collect(processes: Sequence[tuple[int, int]], deadline: Seconds) -> tuple[bool, tuple[str, ...]]:
    """Give (all complete, one text per (rank, pid)): its state in the kernel and its Python stack.

    A pid of 0 is none.
    py-spy reads memory without suspending: it can't suspend a stopped process, and must not a running one.
    """
    until = time.monotonic() + deadline - _GRACE
    dumps = [(rank, pid, _dump(pid)) for rank, pid in processes]
    finished = [(rank, pid, *_finish(dump, until)) for rank, pid, dump in dumps]
    texts = tuple(f"rank {rank} ({pid}): {_kernel(pid)}\n{stack}" for rank, pid, _, stack in finished)
    return all(complete for *_, complete, _ in finished), texts


def _dump(pid: int) -> subprocess.Popen[str] | str:
    if not pid:
        return "it is no rank that lives on this node"
    command = [_PYSPY, "dump", "--nonblocking", "-p", str(pid)]
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    except OSError as error:
        return f"py-spy: {error.strerror}"


def _finish(dump: subprocess.Popen[str] | str, until: Seconds) -> tuple[bool, str]:
    if isinstance(dump, str):
        return False, f"no Python stack: {dump}"
    try:
        out, errors = dump.communicate(timeout=max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        dump.kill()
        dump.communicate()
        return False, "no Python stack: py-spy did not finish in time"
    if dump.returncode:
        return False, f"no Python stack: {' '.join(errors.split()) or 'py-spy failed'}"
    return True, out.strip()


def _kernel(pid: int) -> str:
    """State letter, what it waits for in the kernel, and the state letters of its threads."""
    place = Path(f"/proc/{pid}")
    state = _read(place / "stat").rpartition(") ")[2][:1] or "X"
    waits = _read(place / "wchan") or "?"
    threads = "".join(_read(task / "stat").rpartition(") ")[2][:1] for task in _tasks(place))
    kernel_stack = " < ".join(line.split()[-1] for line in _read(place / "stack").splitlines()[:4])
    return f"state {state}, waits in {waits}, threads {threads}" + (
        f", {kernel_stack}" if kernel_stack else ""
    )


def _tasks(place: Path) -> list[Path]:
    try:
        return sorted((place / "task").iterdir())
    except OSError:
        return []


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
