"""A process's own log, on a standard stream: what a full disk or a closed pipe costs there, and no more."""

import contextlib
import sys
from collections.abc import Callable
from typing import TextIO, cast

import structlog


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


def to_stdout() -> None:
    """Log to standard output from here on; every process that logs says so, or the other, when it starts."""
    _to(Forgiving(lambda: sys.stdout))


def to_stderr() -> None:
    """Log to standard error from here on."""
    _to(Forgiving(lambda: sys.stderr))


def _to(stream: Forgiving) -> None:
    renderer = structlog.dev.ConsoleRenderer(
        colors=False,
        exception_formatter=structlog.dev.plain_traceback,  # the other one shows variables, so secrets
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper("%Y-%m-%d %H:%M:%S", utc=False),
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, stream)),
    )
