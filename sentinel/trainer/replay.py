"""When a step is computed again on other devices, and which of them computed wrong."""

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from statistics import median
from typing import NamedTuple

from sentinel.model.trainable import Replayed, ReplayResult, ReplayWhy

FIRST_STEPS = 16
"""So many steps of a generation tell what is usual in it; before, nothing is a spike. Then comes its first
replay in rotation, for what agreed once and differs later has changed."""
WINDOW = 64
"""Steps that what is usual is taken from: few enough to follow a loss that falls."""
LOOK_EVERY = 8
"""Steps after which it is taken anew: it changes slowly, and medians cost."""
SPIKE = 12.0
"""Standard deviations, by the median absolute deviation. A gradient's norm has a heavy tail: 12 of them are
rare, and one that is nobody's fault costs one pass."""
LEAST_SPREAD = 0.02
"""Of the median: where all steps are alike, a little more is no spike."""
REST = 32
"""Steps after a spike's replay without another: a loss that climbs and stays costs at most 1 pass in 32."""


class Run(NamedTuple):
    """What one device made of one batch of the step."""

    batch: int
    """Whose batch it is: a rank."""
    data: bytes
    """Digest of the batch as this device's rank had read it."""
    result: bytes
    """Digest of the bits of the loss and of the gradients, before any other rank's came in."""
    kind: bytes = b""
    """Digest of what kind of device this is, as far as it says so."""


Runs = Sequence[Sequence[Run]]
"""Each rank's runs, in rank order."""


def agree(runs: Runs) -> bool:
    """Whether every batch gave one result, whoever computed it and however often."""
    return all(len(results) == 1 for results in _by_batch(runs, "result").values())


def judge(runs: Runs, *, alike: bool) -> tuple[int | None, str]:
    """The rank whose device computed wrong, None where nothing tells whose; and why.

    `alike`: all devices are of one kind and have agreed in an earlier step of this generation. Without that,
    one that always differs from the others may have other kernels.
    """
    if any(len(read) > 1 for read in _by_batch(runs, "data").values()):
        return None, "ranks have read different data for the same batch"
    unsteady = [rank for rank, mine in enumerate(runs) if not agree([mine])]
    steady = [mine for rank, mine in enumerate(runs) if rank not in unsteady]
    repeated = bool(steady) and all(len({run.batch for run in mine}) < len(mine) for mine in steady)
    if len(unsteady) == 1 and repeated:
        return unsteady[0], f"rank {unsteady[0]} gave two results for one batch, all others one for each"
    if unsteady:
        return None, f"{_ranks(unsteady)} gave two results for one batch: kernels may not be deterministic"
    apart = [rank for rank in range(len(runs)) if _stands_apart(rank, runs)]
    if len(apart) == 1 and alike:
        return apart[0], f"rank {apart[0]} differs from all others, with whom it had agreed; they still agree"
    if len(apart) == 1:
        return (
            None,
            f"rank {apart[0]} differs from all others, and is of another kind or had never agreed with them",
        )
    if len(runs) == 2:
        return None, "the two ranks differ, and nobody else can tell whose result is right"
    return None, "ranks differ, and not one from all others: devices of several kinds?"


def _by_batch(runs: Runs, what: str) -> dict[int, set[bytes]]:
    found = defaultdict[int, set[bytes]](set)
    for mine in runs:
        for run in mine:
            found[run.batch].add(getattr(run, what))
    return found


def _stands_apart(rank: int, runs: Runs) -> bool:
    """Whether it agrees with nobody, of several, and all the others agree wherever they can be compared."""
    pairs = list(_compared(runs))
    mine = [same for pair, same in pairs if rank in pair]
    others = [same for pair, same in pairs if rank not in pair]
    met = {*(each for pair, _ in pairs for each in pair if rank in pair)} - {rank}
    return len(met) > 1 and not any(mine) and bool(others) and all(others)


def _compared(runs: Runs) -> Iterator[tuple[tuple[int, int], bool]]:
    """Every two ranks that computed the same batch, and whether they agree on it."""
    for one, other in combinations(range(len(runs)), 2):
        for first in runs[one]:
            for second in runs[other]:
                if first.batch == second.batch:
                    yield (one, other), first.result == second.result


def _ranks(ranks: Sequence[int]) -> str:
    return f"rank{'s' * (len(ranks) > 1)} {', '.join(map(str, ranks))}"


def largest(values: Iterable[float]) -> float:
    """Give the largest; one that is not finite is larger than all."""
    return max(values, key=lambda value: value if math.isfinite(value) else math.inf)


class Usual:
    """What is usual of one number, step after step."""

    def __init__(self) -> None:
        self._last = deque[float](maxlen=WINDOW)
        self._most = math.inf
        self._taken = 0

    def take(self, value: float) -> bool:
        """Add the next one; whether it is far above what was usual before it."""
        spikes = value > self._most
        if math.isfinite(value):
            self._last.append(value)
            self._taken += 1
            if self._taken >= FIRST_STEPS and self._taken % LOOK_EVERY == 0:
                self._most = self._limit()
        return spikes

    def _limit(self) -> float:
        middle = median(self._last)
        spread = 1.4826 * median(abs(each - middle) for each in self._last)
        return middle + SPIKE * max(spread, LEAST_SPREAD * abs(middle))


class Replays:
    """Decides for one rank of one generation; all ranks decide alike, for they all see the same numbers."""

    def __init__(self, rank: int, world: int, every: int) -> None:
        """`every`: steps from one replay in rotation to the next, 0 for none."""
        self._rank, self._world, self._every = rank, world, every
        self._usual = Usual(), Usual()
        self._steps = self._turn = self._resting = 0
        self._alike: bool | None = None

    def wanted(self, step: int, loss: float, norm: float) -> ReplayWhy | None:
        """Whether to replay this step, and why; `loss`, `norm`: the largest of all ranks."""
        self._steps += 1
        self._resting = max(0, self._resting - 1)
        losses, norms = self._usual
        spikes = losses.take(loss) | norms.take(norm)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return ReplayWhy.NOT_FINITE
        if spikes and not self._resting:
            self._resting = REST
            return ReplayWhy.SPIKE
        first, later = self._steps == FIRST_STEPS, self._steps > FIRST_STEPS
        due = first or (later and step % self._every == 0) if self._every else False
        return ReplayWhy.ROTATION if due else None

    def replay(
        self,
        why: ReplayWhy,
        done: Run,
        run: Callable[[int], Run],
        exchange: Callable[[Sequence[Run]], Runs],
    ) -> Replayed:
        """Compare this step on all devices; `done` is what this rank's own made of its own batch.

        `run` computes the batch of a rank, `exchange` gives all ranks' runs. One pass is enough where all
        agree; where they do not, each repeats what it has done and takes one more rank's batch.
        """
        partner = self._partner()
        runs = exchange([done, run(partner(0))])
        if agree(runs):
            self._alike = self._alike or partner(0) != self._rank
            return Replayed(why, ReplayResult.AGREED)
        again = exchange([run(self._rank), run(self._rank), run(partner(0)), run(partner(1))])
        alike = self._alike is True and len({run.kind for mine in runs for run in mine}) == 1
        rank, said = judge([[*a, *b] for a, b in zip(runs, again, strict=True)], alike=alike)
        if self._alike is None and rank is None:
            self._alike = False
        if rank is None:
            return Replayed(why, ReplayResult.UNCLEAR, said=said)
        return Replayed(why, ReplayResult.NAMED, (rank,), said)

    def _partner(self) -> Callable[[int], int]:
        """Whose batch is taken, and whose in a second look: another rank's each time.

        Where devices have differed from the start it is this rank's own, first: others tell nothing.
        """
        others = max(self._world - 1, 1)
        if self._alike is not False:
            self._turn += 1
        turn = self._turn

        def partner(further: int) -> int:
            apart = self._alike is False and further == 0
            shift = 0 if apart else (turn - 1 + further) % others + 1
            return (self._rank + shift) % self._world

        return partner
