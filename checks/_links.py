"""A GPU's links, and what they were: earlier counters, links that were up, the PCIe link under load.

All of that lies in `Links`, so in the prober. After a restart of the prober nothing is known of it.
"""

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

from sentinel.checks._window import Clock, Rise, Window
from sentinel.model.check import Machine
from sentinel.model.gpu_sample import GpuLinks, NvLink
from sentinel.model.ids import Seconds

SPAN_S: Seconds = 60.0
"""DCGM's replays are per minute; its NVLink rates are those since the last look, with a minute's watch."""
COUNTERS = ("replays", "recoveries", "crc_errors")


@dataclass(frozen=True, slots=True)
class PcieLink:
    """A PCIe link under load, and what GPU and slot are capable of."""

    generation: int
    generation_max: int
    width: int
    """Lanes."""
    width_max: int


@dataclass(frozen=True, slots=True)
class LinkRises:
    """By how much one NVLink's counters rose within the window; None where that is not known."""

    link: int
    replays: Rise | None
    recoveries: Rise | None
    crc_errors: Rise | None


@dataclass(frozen=True, slots=True)
class LinksSample:
    """One GPU's links now, and beside it what they were."""

    gpu: GpuLinks
    loaded: PcieLink | None
    """The better of the two last PCIe links that were seen at work: at rest, and on the way there and back, a
    link slows down to save power."""
    pcie_replays: Rise | None
    nvlinks: Sequence[LinkRises]
    down: frozenset[int]
    """NVLinks that are inactive, and were so at the last look, too."""
    once_active: frozenset[int]


class Links:
    """Reads the links, and keeps what the next reading is compared with, by GPU."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._window = Window(SPAN_S, clock)
        self._loaded: dict[str, tuple[PcieLink, ...]] = {}
        self._inactive: dict[str, frozenset[int]] = {}
        self._active: dict[str, frozenset[int]] = {}

    def measure(self, machine: Machine) -> Sequence[LinksSample]:
        """Read the links of every GPU."""
        return [self._sample(gpu) for gpu in machine.gpus.read(GpuLinks)]

    def _sample(self, gpu: GpuLinks) -> LinksSample:
        me = gpu.uuid or str(gpu.index)
        now_inactive = frozenset(each.link for each in gpu.nvlinks if each.active is False)
        down = now_inactive & self._inactive.get(me, frozenset())
        self._inactive[me] = now_inactive
        active = frozenset(each.link for each in gpu.nvlinks if each.active)
        # a GPU that was split into instances has switched its links off itself
        self._active[me] = frozenset() if gpu.mig else self._active.get(me, frozenset()) | active
        if link := _under_load(gpu):
            self._loaded[me] = (*self._loaded.get(me, ())[-1:], link)
        rises = self._window.rises(me, {"pcie": gpu.pcie_replays, **_counters(gpu.nvlinks)})
        return LinksSample(
            gpu,
            _better(*self._loaded.get(me, ())),
            rises.get("pcie"),
            [
                LinkRises(each.link, *(rises.get((each.link, name)) for name in COUNTERS))
                for each in gpu.nvlinks
            ],
            down,
            self._active[me],
        )


def _counters(links: Sequence[NvLink]) -> dict[Hashable, int | None]:
    return {(each.link, name): getattr(each, name) for each in links for name in COUNTERS}


def _under_load(gpu: GpuLinks) -> PcieLink | None:
    """Give the PCIe link if it has to be at its best now. A virtual machine may show none, or 0."""
    values = gpu.pcie_generation, gpu.pcie_generation_max, gpu.pcie_width, gpu.pcie_width_max
    generation, generation_max, width, width_max = (value or 0 for value in values)
    if not (gpu.busy and generation and generation_max and width and width_max):
        return None
    return PcieLink(generation, generation_max, width, width_max)


def _better(*links: PcieLink) -> PcieLink | None:
    """Give the better of two; one alone may have been seen on its way to rest."""
    if len(links) < 2:
        return None
    generation, width = max(each.generation for each in links), max(each.width for each in links)
    return replace(links[-1], generation=generation, width=width)
