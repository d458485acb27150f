"""Lines of a kernel log, from the file to the findings of every check that reads them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from benchmarks.kernel_lines import WORST, mixed
from sentinel.adapters.kernel_log import FileFollower
from sentinel.checks import load
from sentinel.model.check import Machine, RankProcess
from sentinel.runtime.probe import NoGpus, probe

CAPTURES = Path(__file__).parents[2] / "captures"


def seeds() -> Iterator[bytes]:
    """Lines that were captured, those of the field, those that the benchmark judges, and the worst ones."""
    for name in ("kmsg_h200.txt", "xid_31_h200.log"):
        yield from (CAPTURES / name).read_bytes().splitlines()[:200]
    for file in sorted((CAPTURES / "kernel").glob("*.yaml")):
        for source in yaml.safe_load(file.read_text()):
            meant = [each for each in source.get("means", ()) if "line" in each]
            yield from (
                line.encode() for line in (*(each["line"] for each in meant), *source.get("nothing", ()))
            )
    yield from (line.encode() for line in [*mixed(500), *WORST.values()])


@contextmanager
def opened(folder: Path) -> Iterator[Callable[[bytes], bool]]:
    """Write lines to a log, read and judge them as an agent does; accepted is what some check speaks of."""
    log = folder / "kern.log"
    log.touch()
    follower = FileFollower(log)
    checks = [check for check in load().values() if check.in_agent]
    processes = tuple(RankProcess(101 + rank, "python3", rank) for rank in range(8))

    def take(data: bytes) -> bool:
        with log.open("r+b") as file:
            file.truncate()
            file.write(data + b"\n")
        found = False
        while lines := follower.read():
            machine = Machine(
                "n", NoGpus(), None, kernel_lines=tuple(lines), pci={"0000:01:00": 0}, processes=processes
            )
            answers = [probe(check, machine) for check in checks]
            assert not any(answer.failed for answer in answers), answers
            found = found or any(answer.findings for answer in answers)
        return found

    yield take
    follower.close()
