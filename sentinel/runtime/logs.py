"""A process's own log: lines on standard output, which a full disk there may cost, and nothing else."""

import contextlib
import sys
from typing import TextIO, cast

import structlog


class Forgiving:
    """A text stream whose writes are lost when its disk takes none."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write what can be written."""
        with contextlib.suppress(OSError):
            self._stream.write(text)

    def flush(self) -> None:
        """Hand on what was written."""
        with contextlib.suppress(OSError):
            self._stream.flush()


def to_stdout() -> None:
    """Log to standard output from here on."""
    stream = cast(TextIO, Forgiving(sys.stdout))
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(stream))
