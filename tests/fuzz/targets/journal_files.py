"""A journal's files as they lie on a disk, read as a controller that starts reads them."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sentinel.adapters.journal import Journal
from sentinel.adapters.journal_file import JournalError
from sentinel.runtime.recall import recall
from tests.fuzz.feed import nothing_of
from tests.fuzz.targets.reports import RECORDING, RULES, STATE

ENDS = ("", "-wal", ".head")


def written(path: Path) -> Journal:
    """Write a real incident's lines, with a snapshot amid them."""
    journal = Journal(path)
    batch = [(line.fact, line.actions) for line in RECORDING.lines[:40]]
    journal.append_many(batch[:20], "policy", "books", {"policy": {"a": 1}, "books": {}})
    journal.save_snapshot(20, STATE.to_bytes())
    journal.append_many(batch[20:], "policy", "books")
    return journal


def seeds() -> Iterator[bytes]:
    """All three files of one journal, as its killed writer leaves them and as a closed one does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "journal.db")
        journal = written(path)
        yield packed(path)
        journal.close()
        yield packed(path)


def packed(path: Path) -> bytes:
    """Give all files as one input: each with its length in front."""
    files = [path.with_name(path.name + end) for end in ENDS]
    contents = [file.read_bytes() if file.exists() else b"" for file in files]
    return b"".join(len(content).to_bytes(4, "big") + content for content in contents)


def unpacked(data: bytes, path: Path) -> None:
    """Write an input's files; where a length is damaged the rest is."""
    for old in path.parent.glob(f"{path.name}*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    for end in ENDS:
        length = int.from_bytes(data[:4], "big")
        content, data = data[4 : 4 + length], data[4 + length :]
        if content:
            path.with_name(path.name + end).write_bytes(content)
            path.with_name(path.name + end).chmod(0o600)


@contextmanager
def opened(folder: Path) -> Iterator[Callable[[bytes], bool]]:
    """Start with one journal after the other; accepted is one from which a controller goes on."""
    path = folder / "journal.db"

    def take(data: bytes) -> bool:
        unpacked(data, path)
        return begins(path)

    yield take


def begins(path: Path) -> bool:
    """Say whether a controller begins with this journal, and a reader reads all of it."""
    with nothing_of(JournalError) as began:
        journal = Journal(path)
        try:
            recall(journal, RULES)
            for line in journal.lines():
                journal.content(line.policy_hash)
        finally:
            journal.close()
    return bool(began)
