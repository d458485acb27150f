"""What connects a GPU: its PCIe link and NVLinks, their states, and their errors within the last minute.

What it compares with lies in `_gpu_links.py`.
"""

import time
from collections.abc import Iterator, Mapping, Sequence

from sentinel.checks._details import Said, findings, gauges
from sentinel.checks._gpu_links import SPAN_S, LinkRises, LinksSample, Memory, look
from sentinel.checks._kept import Clock, Rise, remembered
from sentinel.model.check import Check, Machine, Series
from sentinel.model.finding import Finding, Health
from sentinel.model.gpu_sample import GpuDetail, GpuLinks

REPLAYS_PER_LANE: Mapping[int, float] = {1: 0.15, 2: 0.3, 3: 0.48, 4: 0.96, 5: 1.92}
"""PCIe replays a minute and lane that DCGM allows, by generation: 30.7 on Gen5 x16."""
CRC_PER_S = 100.0
"""From so many CRC errors a second on a link DCGM fails the GPU; below that it still carries the traffic."""
RETRY_MINUTES = 15
"""NVIDIA's resiliency extension fails a GPU of which a port had replays or recoveries in more than 15 of 30
minutes. DCGM does so at the first one, after which training goes on: here that is a warning."""


def measure(machine: Machine, clock: Clock = time.monotonic) -> Sequence[LinksSample]:
    """Read the links of every GPU."""
    gpus = machine.gpus.read(GpuLinks)
    with remembered(machine.kept, "gpu_links", Memory, over_gaps=False) as memory:
        return look(gpus, memory, clock())


def judge(samples: Sequence[LinksSample]) -> Iterator[Finding]:
    """One finding per fault and GPU; which links have it is in the evidence."""
    counts = [count for sample in samples if not sample.gpu.mig and (count := _count_active(sample))]
    most = max(counts, default=0)
    loaded = [sample.loaded for sample in samples if sample.loaded]
    is_built_so = len(loaded) > 1 and len(set(loaded)) == 1
    has_odd_one = sum(count < most for count in counts) == 1

    def judge_one(sample: LinksSample) -> Said:
        yield from _pcie(sample, is_built_so)
        if not sample.gpu.mig:
            yield from _down(sample, 0 < _count_active(sample) < most and has_odd_one)
            yield from _nvlink_errors(sample)

    return findings("gpu_links", samples, _gpu, judge_one)


def _gpu(sample: LinksSample) -> GpuDetail:
    return sample.gpu


def _count_active(sample: LinksSample) -> int:
    return sum(each.active is True for each in sample.gpu.nvlinks)


def _pcie(sample: LinksSample, is_built_so: bool) -> Said:
    """Judge the link under load.

    Where all GPUs have the same it is the machine's, and no GPU's fault: a setting, an older slot, or what a
    virtual machine shows of it.
    """
    link, replays = sample.loaded, sample.pcie_replays
    if link and (link.generation < link.generation_max or link.width < link.width_max):
        said = (
            f"works over PCIe Gen{link.generation} x{link.width} "
            f"instead of Gen{link.generation_max} x{link.width_max}"
        )
        health = Health.WARNING if is_built_so else Health.CRITICAL
        yield "pcie-degraded", health, said, {"generation": link.generation, "width": link.width}
    generation, width = sample.gpu.pcie_generation, sample.gpu.pcie_width
    allowed = REPLAYS_PER_LANE.get(generation or 0, 0) * (width or 0)
    if replays and allowed and replays.seconds >= SPAN_S / 2 and replays.per_minute > allowed:
        evidence = {"replays_per_minute": round(replays.per_minute, 1), "allowed_per_minute": allowed}
        said = f"sends more PCIe packets again than Gen{generation} x{width} may"
        yield "pcie-replays", Health.WARNING, said, evidence


def _down(sample: LinksSample, has_fewer: bool) -> Said:
    """A link is down if it was up, or if the GPU has some of its links, but it alone fewer than its peers.

    A GPU without any may never have had a bridge; one with fewer than it could have may be built so, and two
    that are joined by fewer bridges than others have fewer together.
    """
    if down := sample.down if has_fewer else sample.down & sample.once_active:
        names = ", ".join(map(str, sorted(down)))
        yield "nvlink-down", Health.CRITICAL, f"has NVLinks that are down: {names}", {"links": names}


def _nvlink_errors(sample: LinksSample) -> Said:
    often = [each for each in sample.nvlinks if each.minutes > RETRY_MINUTES]
    noisy = [each for each in sample.nvlinks if each.crc_errors and _is_noisy(each.crc_errors)]
    again = [
        each for each in sample.nvlinks if any(rise and rise.by for rise in (each.replays, each.recoveries))
    ]
    if often or noisy:
        evidence = {"links_again_and_again": _names(often), "links_with_crc_errors": _names(noisy)}
        said = "has NVLinks with errors that do not end"
        yield "nvlink-errors", Health.CRITICAL, said, evidence
    if again:
        said = "sends packets again over NVLink, or trained a link again: watch it"
        yield "nvlink-retries", Health.WARNING, said, {"links": _names(again)}


def _is_noisy(errors: Rise) -> bool:
    return errors.seconds >= SPAN_S / 2 and errors.per_second >= CRC_PER_S


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
            gpu_pcie_replays_total=gpu.pcie_replays,
            gpu_nvlinks_active=_count_active(sample) if links else None,
            gpu_nvlink_replays_total=_sum(each.replays for each in links),
            gpu_nvlink_recoveries_total=_sum(each.recoveries for each in links),
            gpu_nvlink_crc_errors_total=_sum(each.crc_errors for each in links),
        )
    return shown


def _sum(values: Iterator[int | None]) -> int | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


CHECK = Check(
    "gpu_links",
    every=10.0,
    deadline=5.0,
    measure=measure,
    judge=judge,
    causes=("pcie-degraded", "nvlink", "nvlink-errors"),
    metrics=metrics,
)
