"""A process's own log, on standard output: what a full disk or a closed pipe costs there, and no more."""

import contextlib
import sys
from typing import TextIO, cast

import structlog


class Forgiving:
    """Standard output, whose writes are lost when it takes none."""

    def write(self, text: str) -> None:
        """Write what can be written, and spell out what its encoding has no character for."""
        with contextlib.suppress(OSError, ValueError):  # a full disk; a file that is closed
            if sys.stdout is not None:  # as in a process that was started without one
                encoding = sys.stdout.encoding or "utf-8"
                sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))

    def flush(self) -> None:
        """Hand on what was written."""
        with contextlib.suppress(OSError, ValueError):
            if sys.stdout is not None:
                sys.stdout.flush()


def to_stdout() -> None:
    """Log to standard output from here on; every process that logs says so once, when it starts."""
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
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, Forgiving())),
    )
