"""Resetting GPUs through `nvidia-smi`, if nothing uses them, which is looked at right before."""

import contextlib
import queue
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from sentinel.model.ids import Seconds
from sentinel.model.report import OrderDone, ResetGpus

_WITHIN: Seconds = 150.0
"""For all of it: whoever asked waits half a minute longer. A reset of one GPU takes about ten seconds."""
_SAID = 400


class ResetError(Exception):
    """The GPUs were not reset; one line says why."""


class Resets:
    """Resets on a thread of their own, and nudges the loop when they are done."""

    def __init__(self, nudge: Path, gpus: str, command: str) -> None:
        """`command` is `nvidia-smi`, or what stands in its place; simulated GPUs never get the real one."""
        self._nudge = nudge
        self.command = command or ("" if gpus.startswith("simulated:") else "nvidia-smi")
        self._done: queue.SimpleQueue[OrderDone] = queue.SimpleQueue()
        self._running = 0
        self._one_by_one = threading.Lock()

    @property
    def are_running(self) -> bool:
        """Whether the driver is to be left alone: who watches a GPU keeps it from being reset."""
        return self._running > 0

    def begin(self, order: ResetGpus) -> None:
        """Start to reset an order's GPUs."""
        self._running += 1
        threading.Thread(target=self._reset, args=(order,), daemon=True).start()

    def done(self) -> Iterator[OrderDone]:
        """Give what is finished by now, each once."""
        while not self._done.empty():
            self._running -= 1
            yield self._done.get()

    def _reset(self, order: ResetGpus) -> None:
        try:
            with self._one_by_one:  # a controller that took over may ask again
                done = OrderDone(order.order, True, reset(self.command, order.gpus))
        except ResetError as error:
            done = OrderDone(order.order, False, str(error))
        except Exception as error:  # whoever asked waits for an answer, and the checks for its end
            done = OrderDone(order.order, False, f"{type(error).__name__}: {error}")
        self._done.put(done)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as nudge:
            nudge.sendto(b"", str(self._nudge))


def reset(command: str, gpus: Sequence[int]) -> str:
    """Reset GPUs, by their indices, if no process computes on any GPU of the node. Raises ResetError.

    Persistence mode holds a GPU as a process does: it is off meanwhile, and on again afterwards.
    """
    smi = shutil.which(command) if command else None
    if smi is None:
        raise ResetError(f"{command or 'nvidia-smi'} is not to be had here")
    here = [str(gpu) for gpu in gpus]
    if using := _run(smi, "--query-compute-apps=gpu_uuid,pid,process_name", "--format=csv,noheader"):
        raise ResetError(f"not reset: processes use GPUs here: {'; '.join(using.splitlines())}"[:_SAID])
    asked = "--query-gpu=index,persistence_mode", "--format=csv,noheader"
    modes = (line.split(",") for line in _run(smi, *asked).splitlines())
    held = [index.strip() for index, *mode in modes if index.strip() in here and "Enabled" in "".join(mode)]
    for gpu in held:
        _run(smi, "-pm", "0", "-i", gpu)
    try:
        _run(smi, "--gpu-reset", "-i", ",".join(here))
    finally:
        for gpu in held:
            with contextlib.suppress(ResetError):
                _run(smi, "-pm", "1", "-i", gpu)
    return f"nvidia-smi --gpu-reset -i {','.join(here)}: done"


def _run(smi: str, *arguments: str) -> str:
    """Run it; gives what it says. Raises ResetError with that where it fails, or hangs."""
    try:
        ended = subprocess.run(
            [smi, *arguments], capture_output=True, text=True, errors="replace", timeout=_WITHIN / 4
        )
    except subprocess.TimeoutExpired:
        raise ResetError(f"nvidia-smi {' '.join(arguments)}: no end within {_WITHIN / 4:.0f} s") from None
    except OSError as error:
        raise ResetError(f"{smi}: {error.strerror}") from None
    if ended.returncode:
        said = " ".join(f"{ended.stdout} {ended.stderr}".split())[:_SAID]
        raise ResetError(f"nvidia-smi {' '.join(arguments)}: exit {ended.returncode}: {said}")
    return ended.stdout.strip()
