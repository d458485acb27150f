"""What connects a GPU: its PCIe link and NVLinks, their states, and their errors within the last minute.

What it compares with (earlier counters, links that were up, the PCIe link when last under load) lies in
`Links`, so in the prober. After a restart of the prober nothing is known of that, and nothing is found by it.
"""

import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sentinel.checks._details import Said, findings, gauges
from sentinel.checks._window import Clock, Rise, Window
from sentinel.model.check import Check, Machine, Series
from sentinel.model.finding import Finding, Health
from sentinel.model.gpu_sample import GpuDetail, GpuLinks, NvLink
from sentinel.model.ids import Seconds

SPAN_S: Seconds = 60.0
"""DCGM's replays are per minute; its NVLink rates are those since the last look, with a minute's watch."""
REPLAYS_PER_LANE: Mapping[int, float] = {1: 0.15, 2: 0.3, 3: 0.48, 4: 0.96, 5: 1.92}
"""PCIe replays a minute and lane that DCGM allows, by generation: 30.7 on Gen5 x16."""
CRC_PER_S = 100.0
"""From so many CRC errors a second on a link DCGM fails the GPU; below that it still carries the traffic."""
RECOVERIES = 1
"""From so many new trainings of a link on DCGM fails the GPU: what uses the link stands still meanwhile."""

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


def judge(samples: Sequence[LinksSample]) -> Iterator[Finding]:
    """One finding per fault and GPU; which links have it is in the evidence."""
    most = max((_count_active(sample) for sample in samples), default=0)

    def judge_one(sample: LinksSample) -> Said:
        yield from _pcie(sample)
        if not sample.gpu.mig:
            yield from _down(sample, most)
            yield from _nvlink_errors(sample)

    return findings("gpu_links", samples, _gpu, judge_one)


def _gpu(sample: LinksSample) -> GpuDetail:
    return sample.gpu


def _count_active(sample: LinksSample) -> int:
    return sum(each.active is True for each in sample.gpu.nvlinks)


def _pcie(sample: LinksSample) -> Said:
    link, replays = sample.loaded, sample.pcie_replays
    if link and (link.generation < link.generation_max or link.width < link.width_max):
        said = (
            f"works over PCIe Gen{link.generation} x{link.width} "
            f"instead of Gen{link.generation_max} x{link.width_max}"
        )
        yield "pcie-degraded", Health.CRITICAL, said, {"generation": link.generation, "width": link.width}
    generation, width = sample.gpu.pcie_generation, sample.gpu.pcie_width
    allowed = REPLAYS_PER_LANE.get(generation or 0, 0) * (width or 0)
    if replays and allowed and replays.seconds >= SPAN_S / 2 and replays.per_minute > allowed:
        evidence = {"replays_per_minute": round(replays.per_minute, 1), "allowed_per_minute": allowed}
        said = f"sends more PCIe packets again than Gen{generation} x{width} may"
        yield "pcie-replays", Health.WARNING, said, evidence


def _down(sample: LinksSample, most: int) -> Said:
    """A link is down if it was up, or if the GPU has some of its links, but fewer than a peer beside it.

    A GPU without any may never have had a bridge; one with fewer than it could have may be built so.
    """
    has_fewer = 0 < _count_active(sample) < most
    if down := sample.down if has_fewer else sample.down & sample.once_active:
        names = ", ".join(map(str, sorted(down)))
        yield "nvlink-down", Health.CRITICAL, f"has NVLinks that are down: {names}", {"links": names}


def _nvlink_errors(sample: LinksSample) -> Said:
    trained = [each for each in sample.nvlinks if each.recoveries and each.recoveries.by >= RECOVERIES]
    noisy = [each for each in sample.nvlinks if each.crc_errors and each.crc_errors.per_second >= CRC_PER_S]
    again = [each for each in sample.nvlinks if each.replays and each.replays.by]
    if trained or noisy:
        evidence = {"recovered": _names(trained), "crc_errors": _names(noisy)}
        said = "has NVLinks with errors that its traffic feels"
        yield "nvlink-errors", Health.CRITICAL, said, evidence
    if again:
        said = "sends packets again over NVLink: watch it"
        yield "nvlink-replays", Health.WARNING, said, {"links": _names(again)}


def _names(links: Sequence[LinkRises]) -> str:
    return ", ".join(str(each.link) for each in links)


def metrics(samples: Sequence[LinksSample]) -> dict[Series, float]:
    """Gauges per GPU; counters are the driver's own, over all links, and begin anew with it."""
    shown: dict[Series, float] = {}
    for sample in samples:
        gpu, links = sample.gpu, sample.gpu.nvlinks
        shown |= gauges(
            gpu,
            gpu_pcie_generation=gpu.pcie_generation,
            gpu_pcie_width_lanes=gpu.pcie_width,
            gpu_pcie_replays=gpu.pcie_replays,
            gpu_nvlinks_active=_count_active(sample) if links else None,
            gpu_nvlink_replays=_sum(each.replays for each in links),
            gpu_nvlink_recoveries=_sum(each.recoveries for each in links),
            gpu_nvlink_crc_errors=_sum(each.crc_errors for each in links),
        )
    return shown


def _sum(values: Iterator[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


CHECK = Check(
    "gpu_links",
    every=10.0,
    deadline=5.0,
    measure=Links().measure,
    judge=judge,
    causes=("pcie-degraded", "nvlink", "nvlink-errors"),
    metrics=metrics,
)
