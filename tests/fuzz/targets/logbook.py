"""The logbook's index, as a controller that starts finds it and people search it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sentinel.core.fold import decide
from sentinel.core.state import State
from sentinel.logbook.book import Logbook
from sentinel.logbook.export import lines
from sentinel.logbook.recording import read
from sentinel.logbook.report_text import markdown
from sentinel.logbook.statistics import report
from sentinel.logbook.window import Window
from sentinel.model.ids import DAY_S
from sentinel.web import pages
from tests.fuzz.targets.reports import RECORDINGS, RULES


def seeds() -> Iterator[bytes]:
    """An index of one row and of several, which real incidents wrote."""
    with TemporaryDirectory() as folder:
        book = Logbook(folder)
        for name in ("gpu-ecc", "rank-crash", "node-cut"):
            recording = read((RECORDINGS / f"{name}.jsonl").read_text())
            state = State.from_plain(recording.state) if recording.state else State()
            for line in recording.lines:
                decide(state, line.fact, RULES)
            for incident in state.incidents.values():
                book.write(incident)
            yield Path(folder, "index.jsonl").read_bytes()


@contextmanager
def opened(folder: Path) -> Iterator[Callable[[bytes], bool]]:
    """Open one index after the other, search it and show it; accepted is one with a row."""
    index = folder / "index.jsonl"

    def take(data: bytes) -> bool:
        index.write_bytes(data)
        index.chmod(0o600)
        book = Logbook(folder)
        rows = book.rows()
        pages.logbook_page(book.search("gpu"), "gpu")
        pages.logbook_page(rows, "")
        for row in rows[:1]:
            markdown(report(rows, [], Window(row.opened - DAY_S, row.opened + DAY_S)))
        for line in (*lines(rows, "csv"), *lines(rows, "jsonl")):
            assert "\n" not in line
        return bool(rows)

    yield take
