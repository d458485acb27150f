"""Real lines of the field, `tests/captures/kernel`, and what looks like them, through the real readers.

Each file holds what one origin wrote: an address or a project and its file; `made` are lookalikes of ours.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from msgspec import Struct as Noun
from msgspec import convert

from sentinel.adapters.kernel_log import FileFollower
from sentinel.checks import load
from sentinel.model.check import Machine
from sentinel.model.finding import Finding
from sentinel.runtime.probe import NoGpus

CORPUS = Path(__file__).parents[1] / "captures" / "kernel"
CHECKS = [check for check in load().values() if check.of_kernel_log]
MADE = "made"


class Meaning(Noun, forbid_unknown_fields=True, rename={"expected": "is"}):
    """What a line says: a code, how healthy that is, and which component it is about."""

    expected: str
    line: str = ""
    lines: tuple[str, ...] = ()
    """Instead of `line`, where the driver needs several."""
    pid: int | None = None

    @property
    def written(self) -> tuple[str, ...]:
        """All lines of it."""
        return self.lines or (self.line,)


class Source(Noun, forbid_unknown_fields=True):
    """Lines of one origin."""

    origin: str
    machine: str
    means: tuple[Meaning, ...] = ()
    nothing: tuple[str, ...] = ()


SOURCES = [
    source
    for path in sorted(CORPUS.glob("*.yaml"))
    for source in convert(yaml.safe_load(path.read_text()), tuple[Source, ...])
]
MEANINGS = [(source, each) for source in SOURCES for each in source.means]
LOOKALIKES = [(source, line) for source in SOURCES for line in source.nothing]


def events(log: Path, lines: tuple[str, ...]) -> Iterator[Finding]:
    """Write lines into a log, and read and judge them as an agent does."""
    log.touch()
    follower = FileFollower(log)
    log.write_text("".join(f"{line}\n" for line in lines))
    machine = Machine("n", NoGpus(), None, kernel_lines=tuple(follower.read()))
    follower.close()
    for check in CHECKS:
        yield from (found for found in check.judge(check.measure(machine)) if found.event)


@pytest.mark.parametrize(("source", "meaning"), MEANINGS, ids=[each.written[0] for _, each in MEANINGS])
def test_a_line_of_the_field_means_what_it_says(tmp_path: Path, source: Source, meaning: Meaning) -> None:
    (found,) = events(tmp_path / "kern.log", meaning.written)
    assert f"{found.code} {found.health} {found.component}" == meaning.expected, source.origin
    assert found.evidence.get("pid") == meaning.pid
    assert found.evidence["line"] in [line.strip() for line in meaning.written]


@pytest.mark.parametrize(("source", "line"), LOOKALIKES, ids=[line for _, line in LOOKALIKES])
def test_what_only_looks_like_it_means_nothing(tmp_path: Path, source: Source, line: str) -> None:
    assert list(events(tmp_path / "kern.log", (line,))) == [], source.origin


def test_it_is_large_and_says_where_it_is_from() -> None:
    real = [meaning for source, meaning in MEANINGS if source.origin != MADE]
    assert len(real) == len(MEANINGS), "a line of ours proves nothing about the field"
    assert len(real) >= 150
    assert len(LOOKALIKES) >= 100
    assert all(len(source.origin) > 10 or source.origin == MADE for source in SOURCES)
