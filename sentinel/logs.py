"""A process's own log, on a standard stream: without secrets, and what a full disk costs there costs no more.

Python's own loggers (asyncio's, uvicorn's) and what ends a thread or the process are told there, too.
"""

import contextlib
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import TextIO, cast

import structlog

from sentinel.redact import redact
from sentinel.terminal_text import harmless


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
    sys.excepthook = _told_last
    threading.excepthook = lambda args: _told_last(args.exc_type, args.exc_value, args.exc_traceback)


class _Line(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return last_words(super().format(record))


def _told_last(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> None:
    """Tell on standard error, as Python does, what nobody caught."""
    if not issubclass(kind, KeyboardInterrupt | SystemExit):
        told = "".join(traceback.format_exception(kind, error, where))
        Forgiving(lambda: sys.stderr).write(last_words(told))
