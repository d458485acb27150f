"""What a sandbox wrote, kept where it outlives the cluster."""

import contextlib
import shutil
from pathlib import Path

from sentinel.adapters.journal_file import JournalError, copy
from sentinel.demo.sandbox import Sandbox


def keep(sandbox: Sandbox, target: Path) -> None:
    """Copy logbook, recordings, journal and the controller's log to a directory."""
    target.mkdir(parents=True, exist_ok=True)
    for name in ("logbook", "recordings", "pages.log", "controller.log"):
        source = sandbox.state_dir / name
        if source.is_dir():
            shutil.copytree(source, target / name, dirs_exist_ok=True)
        elif source.exists():
            shutil.copy2(source, target / name)
    with contextlib.suppress(JournalError):  # a demo that ends at once has none yet
        copy(sandbox.state_dir / "journal.db", target / "journal.db")
