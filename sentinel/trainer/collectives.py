"""Every collective of a step, counted into the heartbeat and kept out of the time a rank calls its own."""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.distributed.fsdp._fully_shard._fsdp_collectives import DefaultAllGather, DefaultReduceScatter

from sentinel.model.ids import Seconds
from sentinel.model.trainable import Beats
from sentinel.trainer.checksums import LocalGradients


def covered(spans: Iterable[tuple[float, ...]]) -> float:
    """How much of a line these (from, to) cover together: collectives of several streams overlap."""
    total, reached = 0.0, -math.inf
    for first, last in sorted(spans):
        total += max(0.0, last - max(first, reached))
        reached = max(reached, last)
    return total


def _timed_event() -> Any:
    return torch.cuda.Event(enable_timing=True)


class NoBeats:
    """Nobody listens: a dry step, or the reference run."""

    def phase(self, phase: str) -> AbstractContextManager[None]:  # noqa: ARG002 - nobody listens
        """Ignored."""
        return nullcontext()

    def enqueue(self) -> None:
        """Ignored."""

    def complete(self) -> None:
        """Ignored."""


class CollectiveWatch:
    """Tells what a rank did in a step from what it waited for.

    Under FSDP fast ranks wait for slow ones inside forward and backward, so phase times equalise. On a GPU
    the time outside collectives is the step's time less that between events around each collective. On a
    CPU it is the thread's CPU time (waiting for a peer uses none, nor does a crowded host add to it) plus
    the waits that are this rank's own: its data and its device.
    """

    def __init__(self, beats: Beats, device: torch.device) -> None:
        self._beats = beats
        self._on_gpu = device.type == "cuda"
        self._first: Any = _timed_event() if self._on_gpu else None
        self._events: list[tuple[Any, Any]] = []
        self._started = time.monotonic()
        self._cpu_started = time.thread_time()
        self._own_waits: Seconds = 0.0

    def begin(self) -> None:
        """A step begins."""
        self._events.clear()
        if self._on_gpu:
            self._first.record()
        self._started, self._cpu_started = time.monotonic(), time.thread_time()
        self._own_waits = 0.0

    @contextmanager
    def own_wait(self) -> Iterator[None]:
        """What is waited for in here belongs to this rank."""
        wall, cpu = time.monotonic(), time.thread_time()
        yield
        self._own_waits += (time.monotonic() - wall) - (time.thread_time() - cpu)

    @contextmanager
    def collective(self) -> Iterator[None]:
        """Runs one collective. One that raises is never completed, which is what the record should say."""
        self._beats.enqueue()
        if self._on_gpu:
            pair = (_timed_event(), _timed_event())
            pair[0].record()
            yield
            pair[1].record()
            self._events.append(pair)
        else:
            yield
            self._beats.complete()

    def outside(self) -> Seconds:
        """Time outside collectives since `begin`; on a GPU waits until all of them are done."""
        if not self._on_gpu:
            return time.thread_time() - self._cpu_started + self._own_waits
        torch.cuda.synchronize()
        spans = [tuple(self._first.elapsed_time(event) for event in pair) for pair in self._events]
        inside = covered(spans) / 1000
        self.drain()
        return max(time.monotonic() - self._started - inside, 0.0)

    def drain(self) -> None:
        """Complete what was only enqueued: on a GPU a collective is done when the device says so."""
        for _ in self._events:
            self._beats.complete()
        self._events.clear()


class WatchedAllGather(DefaultAllGather):  # type: ignore[misc]  # torch is untyped here
    """FSDP's all-gather of parameters, watched."""

    def __init__(self, watch: CollectiveWatch) -> None:
        self._watch = watch

    def __call__(self, *tensors: Any, **options: Any) -> Any:
        """Gather, as the default does."""
        with self._watch.collective():
            return super().__call__(*tensors, **options)


class WatchedReduceScatter(DefaultReduceScatter):  # type: ignore[misc]
    """FSDP's reduce-scatter of gradients, watched; what goes in is this rank's own."""

    def __init__(self, watch: CollectiveWatch, local: LocalGradients) -> None:
        self._watch, self._local = watch, local

    def __call__(self, output_tensor: Any, input_tensor: Any, *rest: Any, **options: Any) -> Any:
        """Reduce and scatter, as the default does."""
        self._local.take(input_tensor)
        with self._watch.collective():
            return super().__call__(output_tensor, input_tensor, *rest, **options)
