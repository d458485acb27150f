"""A GPU's links, and what they were: earlier counters, links that were up, the PCIe link under load.

All of that lies in `Links`, so in the prober. After a restart of the prober nothing is known of it.
"""

import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

from sentinel.checks._window import Clock, Minutes, Rise, Window
from sentinel.model.check import Machine
from sentinel.model.gpu_sample import GpuLinks, NvLink
from sentinel.model.ids import Seconds

SPAN_S: Seconds = 60.0
"""DCGM's replays are per minute; its NVLink rates are those since the last look, with a minute's watch."""
MINUTES = 30
_LOOK_S: Seconds = 1.0
"""No two looks are as close as this: of a window so short a rise is that since the last look."""
COUNTERS = ("replays", "recoveries", "crc_errors")
RETRIES = ("replays", "recoveries")


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
    minutes: int
    """Of the last `MINUTES`, those in which packets were sent again or the link was trained again."""


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
        self._look = Window(_LOOK_S, clock)
        self._minutes = Minutes(MINUTES, clock)
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
        # a GPU that was split into instances has switched its links off
        # itself, and one that did not answer may have been reset, after which they are trained anew
        self._active[me] = frozenset() if gpu.mig or gpu.error else self._active.get(me, frozenset()) | active
        if link := _under_load(gpu):
            self._loaded[me] = (*self._loaded.get(me, ())[-1:], link)
        rises = self._window.rises(me, {"pcie": gpu.pcie_replays, **_counters(gpu.nvlinks, COUNTERS)})
        minutes = self._retry_minutes(me, gpu.nvlinks)
        return LinksSample(
            gpu,
            _better(*self._loaded.get(me, ())),
            rises.get("pcie"),
            [_of_link(each.link, rises, minutes.get(each.link, 0)) for each in gpu.nvlinks],
            down,
            self._active[me],
        )

    def _retry_minutes(self, gpu: str, links: Sequence[NvLink]) -> Mapping[Hashable, int]:
        """Say in how many of the last minutes each link had to do something again."""
        rises = self._look.rises(gpu, _counters(links, RETRIES))
        again = {each.link for each in links for name in RETRIES if _rose(rises.get((each.link, name)))}
        return self._minutes.count(gpu, again)


def _counters(links: Sequence[NvLink], names: Sequence[str]) -> dict[Hashable, int | None]:
    return {(each.link, name): getattr(each, name) for each in links for name in names}


def _of_link(link: int, rises: Mapping[Hashable, Rise], minutes: int) -> LinkRises:
    replays, recoveries, crc_errors = (rises.get((link, name)) for name in COUNTERS)
    return LinkRises(link, replays, recoveries, crc_errors, minutes)


def _rose(rise: Rise | None) -> bool:
    return rise is not None and rise.by > 0


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
