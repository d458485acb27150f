"""A rank alone, whose steps take as many seconds as its arguments say; no controller renews its lease."""

import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sentinel.model.trainable import Beats, Place, SaveReport, StepResult

HELD = sys.argv[2] in ("held", "held unseen")
LEASE_S = 3600.0 if HELD else 1.0


class Slow:
    """A trainer that has nothing to train; in a step its collectives come and go, or it says nothing."""

    def warm(self, gpu: int) -> None:
        """Nothing to warm."""

    def setup(self, place: Place, beats: Beats) -> None:
        """Take part; `place` is the only one."""
        del place
        self._beats = beats

    entered = -1
    """Newest step that was begun."""
    saved = -1
    """Newest step of which a checkpoint was made."""

    def step(self, step: int, vote: int) -> StepResult:
        """Take the step's time."""
        Slow.entered = step
        if sys.argv[2] == "held":  # its last collective never completes
            self._beats.enqueue()
        done = time.monotonic() + float(sys.argv[3 + step])
        while time.monotonic() < done:
            if sys.argv[2] == "collectives":
                self._beats.enqueue()
                self._beats.complete()
            time.sleep(0.05)
        is_last = sys.argv[2] == "ends" and step == len(sys.argv) - 4
        return StepResult(step, 1.0, (1.0,), 0.0, 0.0, (vote,), is_last)

    def state(self) -> Mapping[str, Any]:
        """Give next to nothing."""
        return {"steps": 0}

    def load(self, state: Mapping[str, Any]) -> None:
        """Nothing to load."""

    def save(self, directory: os.PathLike[str], step: int) -> None:
        """Take note of it."""
        Slow.saved = step

    def save_report(self) -> SaveReport:
        """All was saved at once."""
        return SaveReport(Slow.saved)

    def finish_save(self, seconds: float) -> bool:
        """Nothing is being saved."""
        del seconds
        return True

    def latest(
        self, directory: os.PathLike[str], above: int = -1, since: int = -1
    ) -> tuple[int, Sequence[str]]:
        """There is no checkpoint."""
        del directory, above, since
        return -1, ()

    def skip(self, steps: Sequence[int]) -> None:
        """Nothing to leave out."""

    def teardown(self) -> None:
        """Nothing to drop."""


if __name__ == "__main__":
    from sentinel.gang.orders import FormOrder, WorkerSpec
    from sentinel.gang.rank import RankRunner
    from sentinel.gang.snapshots import SnapshotHolder, job_key

    memory = Path(sys.argv[1])
    holder = SnapshotHolder(memory, "127.0.0.1", key=b"secret")
    key = job_key(b"secret", "job")
    spec = WorkerSpec(
        "job",
        "__main__:Slow",
        "",
        "gloo",
        str(memory / "job"),
        1,
        1000,
        60.0,
        LEASE_S,
        key,
    )
    runner = RankRunner(spec, "w1", memory)
    port = runner.serve_store(1, 1, "127.0.0.1")
    runner.form(FormOrder(1, 0, 1, 0, ("127.0.0.1", port), (holder.address,), None))
    if HELD:
        while Slow.entered < len(sys.argv) - 4:  # between two steps it could leave its group
            time.sleep(0.05)
        port = runner.serve_store(2, 1, "127.0.0.1")
        runner.form(FormOrder(2, 0, 1, 0, ("127.0.0.1", port), (holder.address,), None))
    if sys.argv[2] in ("resized", "paused"):
        while runner.status().step < 0:
            time.sleep(0.05)
        assert runner.pause(1, saves=sys.argv[2] == "resized")
        print(f"{runner.status().step - Slow.saved} steps are in no checkpoint", flush=True)
        sys.exit()
    while sys.argv[2] == "ends" or runner.status().step < len(sys.argv) - 5:
        time.sleep(0.05)
    print(msgspec.json.encode(runner.status()).decode(), flush=True)
