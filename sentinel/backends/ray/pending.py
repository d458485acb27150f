"""Answers of Ray that take their time: one thread waits for all of them, however many they are."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sentinel.model.ids import Seconds

LOOK_EVERY_S = 0.1
"""How late an answer may be noticed that was asked for while others were waited for."""


T = TypeVar("T")


@dataclass
class _Pending:
    read: Callable[[Any], Any]
    what: str
    within_s: Seconds
    give_up: Callable[[], None]
    """Called when the time is over, so that nothing goes on that nobody waits for."""
    answer: Future[Any] = field(default_factory=Future)
    asked: Seconds = field(default_factory=time.monotonic)


class Pending:
    """Turns references into futures, each with a time limit of its own."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._waiting: dict[Any, _Pending] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name="pending", daemon=True).start()

    def answer(
        self,
        ref: Any,
        read: Callable[[Any], T],
        what: str,
        within_s: Seconds,
        give_up: Callable[[], None] = lambda: None,
    ) -> Future[T]:
        """Give what will come of a reference: its value as `read` has it, what was raised, TimeoutError."""
        pending = _Pending(read, what, within_s, give_up)
        with self._changed:
            self._waiting[ref] = pending
            self._changed.notify()
        return pending.answer

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                refs = list(self._waiting)
            done: list[Any] = []
            with suppress(self._ray.exceptions.RayError):
                done, _ = self._ray.wait(refs, timeout=LOOK_EVERY_S)
            for ref in done:
                self._settle(ref)
            self._end_late(refs)

    def _settle(self, ref: Any) -> None:
        pending = self._take(ref)
        try:
            value = pending.read(self._ray.get(ref))
        except Exception as error:  # whoever asked decides what a failure means
            pending.answer.set_exception(error)
        else:
            pending.answer.set_result(value)

    def _end_late(self, refs: list[Any]) -> None:
        now = time.monotonic()
        for ref in refs:
            pending = self._waiting.get(ref)
            if pending is None or now < pending.asked + pending.within_s:
                continue
            self._take(ref)
            with suppress(Exception):
                pending.give_up()
            message = f"{pending.what}: not within {pending.within_s:.0f} s"
            pending.answer.set_exception(TimeoutError(message))

    def _take(self, ref: Any) -> _Pending:
        with self._changed:
            return self._waiting.pop(ref)
