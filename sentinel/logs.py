"""A process's own log, on a standard stream: without secrets, and what a full disk costs there costs no more.

Whatever strangers do, it grows slowly: an agent's log lies in its node's memory, beside the snapshots. What
Python's own loggers (asyncio's, uvicorn's) say, and what ends a thread or the process, is told there, too.
"""

import contextlib
import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable, MutableMapping
from types import TracebackType
from typing import Any, TextIO, cast

import structlog

from sentinel.redact import redact
from sentinel.terminal_text import harmless

BURST = 1024
"""Lines that say the same of others: all nodes of a large cluster may come back at once."""
EVERY_S = 10.0
"""After that, one line in so many seconds: 1 MB a day."""


class Ration:
    """Leaves out lines that say the same too often; the next one tells how many."""

    def __init__(
        self, burst: int = BURST, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst, self._every_s = burst, every_s
        self._clock, self._lock = clock, threading.Lock()
        self._used_up: dict[str, tuple[float, int]] = {}
        """By what is said: when all of its burst is free again, and how many lines were left out."""

    def passes(self, said: str) -> int | None:
        """Say whether this may be told now, and how many lines like it were left out; None if it may not."""
        now = self._clock()
        with self._lock:
            if len(self._used_up) > BURST:
                self._used_up = {each: (at, n) for each, (at, n) in self._used_up.items() if n or at > now}
            free_at, left_out = self._used_up.get(said, (now, 0))
            free_at = max(free_at, now)
            if free_at - now > (self._burst - 1) * self._every_s:
                self._used_up[said] = free_at, left_out + 1
                return None
            self._used_up[said] = free_at + self._every_s, 0
        return left_out

    def __call__(
        self, _logger: Any, _method: str, line: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Let a line of structlog's pass. Raises DropEvent, by which structlog leaves it out."""
        if (left_out := self.passes(str(line.get("event")))) is None:
            raise structlog.DropEvent
        return {**line, "left_out": left_out} if left_out else line


class Forgiving:
    """A standard stream, whose writes are lost when it takes none."""

    def __init__(self, stream: Callable[[], TextIO | None]) -> None:
        """`stream` gives the one of this moment: None in a process that was started without one."""
        self._stream = stream

    def write(self, text: str) -> None:
        """Write what can be written, and spell out what its encoding has no character for."""
        with contextlib.suppress(OSError, ValueError):  # a full disk; a file that is closed
            if (stream := self._stream()) is not None:
                encoding = stream.encoding or "utf-8"
                stream.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def flush(self) -> None:
        """Hand on what was written."""
        with contextlib.suppress(OSError, ValueError):
            if (stream := self._stream()) is not None:
                stream.flush()


def to_stdout(*, alone: bool = True) -> None:
    """Log to standard output from here on; every process that logs says so, or the other, when it starts.

    One that is not `alone`, such as a rank, leaves Python's loggers to whom the rest of it belongs.
    """
    out = Forgiving(lambda: sys.stdout)
    _log_to(out)
    if alone:
        _log_others_to(out)


def to_stderr() -> None:
    """Log to standard error from here on."""
    out = Forgiving(lambda: sys.stderr)
    _log_to(out)
    _log_others_to(out)


def last_words(message: str) -> str:
    """Give a line that may be a process's last on standard error."""
    return harmless(redact(message))


def _log_to(stream: Forgiving) -> None:
    renderer = structlog.dev.ConsoleRenderer(
        colors=False,
        exception_formatter=structlog.dev.plain_traceback,  # the other one shows variables, so secrets
    )
    structlog.configure(
        processors=[
            Ration(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("%Y-%m-%d %H:%M:%S", utc=False),
            renderer,
            lambda _logger, _method, line: last_words(str(line)),
        ],
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, stream)),
    )


def _log_others_to(stream: Forgiving) -> None:
    handler = logging.StreamHandler(cast(TextIO, stream))
    handler.setFormatter(_Line("%(asctime)s [%(levelname)s] %(message)s [%(name)s]", "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    sys.excepthook = _log_last
    threading.excepthook = lambda args: _log_last(args.exc_type, args.exc_value, args.exc_traceback)


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return last_words(super().format(record))


def _log_last(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> None:
    """Tell on standard error, as Python does, what nobody caught."""
    if not issubclass(kind, KeyboardInterrupt | SystemExit):
        text = "".join(traceback.format_exception(kind, error, where))
        Forgiving(lambda: sys.stderr).write(last_words(text))
