"""A GPU's memory beyond its newest errors: what has worn out, and what is about to."""

from collections.abc import Iterator, Sequence

from sentinel.checks._details import Said, findings, gauges
from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health
from sentinel.model.gpu_sample import GpuMemory

SRAM_CORRECTED = 10_000
"""More corrected SRAM errors since the driver was loaded than this, and Azure's node checks fail the node."""
DRAM_CORRECTED = 20_000_000
"""The same of DRAM (Azure; Meta's GCM takes 50,000,000)."""
REMAPPED_ROWS = 512
"""From so many rows remapped for uncorrectable errors on DCGM warns: a GPU has no more spare ones."""
RETIRED_PAGES = 63
"""From so many retired pages on DCGM fails a GPU before Ampere: its table holds 64."""
RETIRED_DOUBLE = 15
"""DCGM's soft limit of pages retired for double-bit errors."""
BANKS = ("max", "high", "partial", "low", "none")


def measure(machine: Machine) -> Sequence[GpuMemory]:
    """Read the counters of every GPU."""
    return machine.gpus.read(GpuMemory)


def judge(gpus: Sequence[GpuMemory]) -> Iterator[Finding]:
    """One finding per fault and GPU."""
    return findings("gpu_memory", gpus, lambda gpu: gpu, _judge)


def _judge(gpu: GpuMemory) -> Said:
    if gpu.sram_threshold_exceeded:
        errors = {"sram_uncorrectable_aggregate": gpu.sram_uncorrectable_aggregate or 0}
        said = "has more uncorrectable SRAM errors than its driver allows"
        yield "sram-threshold", Health.CRITICAL, said, errors
    if (gpu.sram_corrected or 0) > SRAM_CORRECTED:
        said = f"has over {SRAM_CORRECTED:,} corrected SRAM errors"
        yield "sram-corrected", Health.WARNING, said, {"sram_corrected": gpu.sram_corrected or 0}
    if (gpu.dram_corrected or 0) > DRAM_CORRECTED:
        said = f"has over {DRAM_CORRECTED:,} corrected memory errors"
        yield "dram-corrected", Health.WARNING, said, {"dram_corrected": gpu.dram_corrected or 0}
    yield from _remapped(gpu)
    yield from _retired(gpu)


def _remapped(gpu: GpuMemory) -> Said:
    """Rows of Ampere and later. That a remapping failed, or waits for a reset, the gpu check says."""
    if (gpu.remapped_uncorrectable or 0) >= REMAPPED_ROWS:
        said = f"has remapped {REMAPPED_ROWS} rows or more for uncorrectable errors: plan its replacement"
        evidence = {"remapped_uncorrectable": gpu.remapped_uncorrectable or 0}
        yield "remapped-rows", Health.WARNING, said, evidence
    if gpu.banks and gpu.banks[-1]:
        said = "has memory banks without a spare row: the next error there can't be remapped"
        yield "remap-bank-full", Health.WARNING, said, {"banks": gpu.banks[-1]}


def _retired(gpu: GpuMemory) -> Said:
    single, double = gpu.retired_single or 0, gpu.retired_double or 0
    evidence = {"retired_single": single, "retired_double": double}
    if single + double >= RETIRED_PAGES:
        yield "pages-retired", Health.CRITICAL, f"has retired {RETIRED_PAGES} memory pages or more", evidence
    elif double >= RETIRED_DOUBLE:
        said = (
            f"has retired {RETIRED_DOUBLE} memory pages or more for double-bit errors: plan its replacement"
        )
        yield "pages-retired-double", Health.WARNING, said, evidence
    if gpu.retire_pending:
        yield "retirement-pending", Health.WARNING, "retires a memory page at its next reset", evidence


def metrics(gpus: Sequence[GpuMemory]) -> dict[Series, float]:
    """Gauges per GPU."""
    shown: dict[Series, float] = {}
    for gpu in gpus:
        shown |= gauges(
            gpu,
            gpu_ecc_lifetime_corrected_errors_total=gpu.ecc_corrected_aggregate,
            gpu_ecc_lifetime_uncorrectable_errors_total=gpu.ecc_uncorrectable_aggregate,
            gpu_dram_corrected_errors_total=gpu.dram_corrected,
            gpu_sram_corrected_errors=gpu.sram_corrected,
            gpu_sram_lifetime_uncorrectable_errors_total=gpu.sram_uncorrectable_aggregate,
            gpu_remapped_rows_corrected=gpu.remapped_corrected,
            gpu_remapped_rows_uncorrectable=gpu.remapped_uncorrectable,
            gpu_retired_pages_single=gpu.retired_single,
            gpu_retired_pages_double=gpu.retired_double,
        )
        for spare, banks in zip(BANKS, gpu.banks or (), strict=False):
            shown[series("gpu_remap_banks", gpu=gpu.index, spare=spare)] = float(banks)
    return shown


CHECK = Check(
    "gpu_memory",
    every=30.0,
    deadline=5.0,
    measure=measure,
    judge=judge,
    causes=("sram-ecc", "gpu-remap"),
    metrics=metrics,
)
