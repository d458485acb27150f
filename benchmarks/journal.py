"""How fast the journal writes, and how soon a controller is up on a journal of many facts."""

import argparse
import tempfile
import time
from pathlib import Path

from sentinel.adapters.journal import Journal
from sentinel.model.fact import FindingReported
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId

NODES = 1_000
BATCH = 1_000


def fact(number: int) -> FindingReported:
    finding = Finding(
        "gpu", "ecc-uncorrectable", f"gpu-{number % 8}", Health.CRITICAL, "2 errors", {"ecc_uncorrectable": 2}
    )
    return FindingReported(1e9 + number, NodeId(f"node-{number % NODES}"), finding)


def fill(journal: Journal, facts: int, tail: int) -> float:
    begin = time.perf_counter()
    for start in range(0, facts, BATCH):
        batch = [(fact(number), ()) for number in range(start, min(start + BATCH, facts))]
        journal.append_many(batch, "policy", "runbooks")
        if journal.last_seq <= facts - tail:
            journal.save_snapshot(journal.last_seq, state())
    return time.perf_counter() - begin


def state() -> dict[str, dict[str, object]]:
    return {f"node-{number}": {"health": "ok", "seen": 1e9, "findings": []} for number in range(NODES)}


def commits_per_second(journal: Journal, count: int = 200) -> float:
    begin = time.perf_counter()
    for number in range(count):
        journal.append(fact(number), (), "policy", "runbooks")
    return count / (time.perf_counter() - begin)


def up(path: Path) -> tuple[float, int]:
    begin = time.perf_counter()
    journal = Journal(path)
    folded = sum(1 for _ in journal.load().tail)
    seconds = time.perf_counter() - begin
    journal.close()
    return seconds, folded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--facts", type=int, default=1_000_000)
    parser.add_argument("--tail", type=int, default=10_000, help="facts after the newest snapshot")
    parser.add_argument("--dir", type=Path, default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        path = Path(folder) / "journal.db"
        journal = Journal(path)
        print(f"single commits        {commits_per_second(journal):8.0f} per s")
        seconds = fill(journal, options.facts, options.tail)
        print(f"batches of {BATCH}       {options.facts / seconds:8.0f} facts per s")
        journal.close()
        print(f"size                  {path.stat().st_size / 1e6:8.0f} MB for {options.facts} facts")
        seconds, folded = up(path)
        print(f"up again              {seconds:8.2f} s, {folded} facts in the tail")
        journal = Journal(path)
        begin = time.perf_counter()
        deleted = journal.compact([], max_lines=10_000)
        print(f"compaction            {time.perf_counter() - begin:8.2f} s, {deleted} lines")
        journal.close()
        print(f"size afterwards       {path.stat().st_size / 1e6:8.0f} MB")


if __name__ == "__main__":
    main()
