"""The logbook's tally, as reports find it after a crash, a full disk or another release."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from sentinel.core.state import State
from sentinel.logbook import tally_file
from sentinel.logbook.judgement import Judged
from sentinel.logbook.recording import read
from sentinel.logbook.report_text import markdown, short
from sentinel.logbook.statistics import report
from sentinel.logbook.tally import Proved
from sentinel.logbook.window import Window
from sentinel.model.ids import DAY_S, IncidentId, NodeId
from sentinel.runtime.past import of_lines
from tests.fuzz.targets.reports import RECORDINGS, RULES


def seeds() -> Iterator[bytes]:
    """The tallies of real incidents, with what nodes showed and people said."""
    for name in ("gpu-ecc", "rank-crash", "node-cut"):
        recording = read((RECORDINGS / f"{name}.jsonl").read_text())
        state = State.from_plain(recording.state) if recording.state else State()
        entries = of_lines(state, ((line, RULES) for line in recording.lines), RULES).entries
        at, incident = state.now, IncidentId("I-0001")
        entries += [
            Proved(at, NodeId("n1"), incident, "passed", ("gpu-reset",), "gemm: 600"),
            Judged(at, incident, "not-node", "ann", "its cable"),
        ]
        with TemporaryDirectory() as folder:
            Path(folder).chmod(0o700)
            tally_file.append(Path(folder), entries)
            yield (Path(folder) / tally_file.NAME).read_bytes()


@contextmanager
def opened(folder: Path) -> Iterator[Callable[[bytes], bool]]:
    """Read one tally after the other and report on it; accepted is one with an entry."""
    file, recording = folder / tally_file.NAME, read((RECORDINGS / "gpu-ecc.jsonl").read_text())
    begins = recording.lines[0].fact.at
    window = Window(begins - DAY_S, begins + DAY_S)

    def take(data: bytes) -> bool:
        file.write_bytes(data)
        file.chmod(0o600)
        entries = tally_file.read(folder)
        tally_file.end_of(folder)
        made = report([], entries, window, "blue")
        markdown(made)
        short(made)
        return bool(entries)

    yield take
