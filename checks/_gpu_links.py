"""A GPU's links, and what they were: earlier counters, links that were up, the PCIe link under load.

All of that is kept beyond the prober, of each GPU by its uuid.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import msgspec

from sentinel.checks._details import recalled
from sentinel.checks._kept import Readings, Rise, minutes, rises
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


class Past(msgspec.Struct):
    """What the next reading of one GPU is compared with."""

    rises: dict[str, Readings] = {}
    last: dict[str, Readings] = {}
    """Retries at the last look."""
    retried: dict[str, list[int]] = {}
    """Link → the minutes in which it had to do something again."""
    loaded: list[PcieLink] = []
    """The two last PCIe links that were seen at work."""
    inactive: list[int] = []
    """NVLinks at the last look."""
    active: list[int] = []
    """NVLinks that were up at any look."""


class Memory(msgspec.Struct):
    """What is remembered, by GPU."""

    gpus: dict[str, Past] = {}


def look(gpus: Sequence[GpuLinks], memory: Memory, now: Seconds) -> Sequence[LinksSample]:
    """Compare the links of every GPU with what they were."""
    return [_sample(gpu, past, now) for gpu, past in recalled(gpus, memory.gpus, Past)]


def _sample(gpu: GpuLinks, past: Past, now: Seconds) -> LinksSample:
    inactive = {each.link for each in gpu.nvlinks if each.active is False}
    down = frozenset(inactive & set(past.inactive))
    past.inactive = sorted(inactive)
    # a GPU that was split into instances has switched its links off
    # itself, and one that did not answer may have been reset, after which they are trained anew
    active = {each.link for each in gpu.nvlinks if each.active}.union(past.active)
    past.active = [] if gpu.mig or gpu.error else sorted(active)
    if link := _under_load(gpu):
        past.loaded = [*past.loaded[-1:], link]
    counters = {"pcie": gpu.pcie_replays, **_counters(gpu.nvlinks, COUNTERS)}
    rose = rises(past.rises, counters, SPAN_S, now)
    again = _retry_minutes(past, gpu.nvlinks, now)
    return LinksSample(
        gpu,
        _better(*past.loaded),
        rose.get("pcie"),
        [_of_link(each.link, rose, again.get(str(each.link), 0)) for each in gpu.nvlinks],
        down,
        frozenset(past.active),
    )


def _retry_minutes(past: Past, links: Sequence[NvLink], now: Seconds) -> Mapping[str, int]:
    """Say in how many of the last minutes each link had to do something again."""
    rose = rises(past.last, _counters(links, RETRIES), _LOOK_S, now)
    names = {_name(each.link, counter): str(each.link) for each in links for counter in RETRIES}
    return minutes(past.retried, {names[name] for name, rise in rose.items() if rise.by}, MINUTES, now)


def _name(link: int, counter: str) -> str:
    return f"{link} {counter}"


def _counters(links: Sequence[NvLink], names: Sequence[str]) -> dict[str, int | None]:
    return {_name(each.link, name): getattr(each, name) for each in links for name in names}


def _of_link(link: int, rose: Mapping[str, Rise], again: int) -> LinkRises:
    replays, recoveries, crc_errors = (rose.get(_name(link, name)) for name in COUNTERS)
    return LinkRises(link, replays, recoveries, crc_errors, again)


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
