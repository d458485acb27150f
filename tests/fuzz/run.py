"""Feeds a target in processes of their own, each under a deadline: whatever ends one is counted and named."""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.feed import NOTHING, Count, Note

CHUNK = 20_000
"""Inputs per process."""
DEADLINE_S = 20.0
"""No input may take longer: a process that shows no progress for so long is ended."""
STARTS_WITHIN_S = 120.0
MOST_ENDS = 20
"""Then the target is left alone: one defect ends one process after the other."""


@dataclass
class Outcome:
    """What became of one target."""

    name: str
    count: Count
    ends: list[str] = field(default_factory=list)
    """For each process that ended: at which input, and its last words."""


def run(name: str, module: str, inputs: int, seed: str, deadline_s: float = DEADLINE_S) -> Outcome:
    """Feed one target; what ended a process is passed over by the next."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        path = Path(folder, "count")
        note, outcome = Note.at(path), Outcome(name, NOTHING)
        while note.read().next < inputs and len(outcome.ends) < MOST_ENDS:
            if end := _one(module, inputs, seed, path, note, deadline_s):
                outcome.ends.append(end)
                note.write(note.read()._replace(next=note.read().next + 1))
        outcome.count = note.read()
    return outcome


def _one(module: str, inputs: int, seed: str, path: Path, note: Note, deadline_s: float) -> str:
    """Feed one process; gives what ended it before it was through, or nothing."""
    note.write(note.read()._replace(feeding=False))
    until = min(inputs, note.read().next + CHUNK)
    argv = [sys.executable, "-m", "tests.fuzz.worker", module, seed, str(until), str(path)]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said)
        hung = not _ends(process, note, deadline_s)
        if hung or process.returncode or note.read().next < until:
            said.seek(0)
            lines = said.read().decode(errors="replace").split("\n")
            words = f"no end after {deadline_s:.0f} s" if hung else " | ".join(filter(None, lines[-4:]))
            return f"input {note.read().next} (exit {process.returncode}): {words}"
    return ""


def _ends(process: "subprocess.Popen[bytes]", note: Note, deadline_s: float) -> bool:
    """Wait until it has ended, as long as it gets on; false for one that had to be ended."""
    seen, since = note.read(), time.monotonic()
    try:
        while process.poll() is None:
            if (now := note.read()) != seen:
                seen, since = now, time.monotonic()
            if time.monotonic() - since > (deadline_s if seen.feeding else STARTS_WITHIN_S):
                return False
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    return True
