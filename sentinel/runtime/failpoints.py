"""Named moments at which the demo can end this process, to show that any moment will do."""

import os
import signal
from pathlib import Path

FILE = os.environ.get("SENTINEL_FAILPOINT")
"""A file whose content names the moment; set only by the demo and the tests."""


def reach(moment: str) -> None:
    """Die here, if this is the moment that was asked for."""
    if FILE is None:
        return
    path = Path(FILE)
    if path.exists() and path.read_text() == moment:
        path.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
