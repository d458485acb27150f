"""Who uses a GPU: processes that are no rank here, memory that nobody holds, a mode that waits for a reset.

Processes are told apart only where the agent counts them as the host does: elsewhere NVML lists numbers that
mean nothing here, or none. What a look finds counts once the next one finds it, too, for a process that ends
gives its memory back late.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from sentinel import heartbeat
from sentinel.checks._details import Said, findings, gauges, recalled
from sentinel.checks._kept import remembered
from sentinel.heartbeat import reader
from sentinel.heartbeat.layout import SUFFIX, HeartbeatError
from sentinel.heartbeat.process import find_process
from sentinel.model.check import Check, Machine, Series
from sentinel.model.finding import Finding, Health
from sentinel.model.gpu_sample import GpuDetail, GpuProcess, GpuTenants

NODES = Path("/sys/devices/system/node")
HELD_BYTES = 1024**3
"""A context without data takes 0.3 to 0.6 GiB; from here on somebody has put something there."""


@dataclass(frozen=True, slots=True)
class TenantsSample:
    """Who uses one GPU, and what was so at the last look already."""

    gpu: GpuTenants
    strangers: Sequence[tuple[GpuProcess, str]]
    """With much memory, no rank nor a child of one, at this look and the last; and their names."""
    residue_bytes: int
    """Held without a process, at this look and the last."""


class Past(msgspec.Struct):
    """What the last look found of one GPU."""

    strangers: list[int] = []
    residue: int = 0


class Memory(msgspec.Struct):
    """What is remembered, by GPU."""

    gpus: dict[str, Past] = {}


def measure(machine: Machine) -> Sequence[TenantsSample]:
    """List the processes of every GPU, and the ranks of this node."""
    gpus = machine.gpus.read(GpuTenants)
    is_host = heartbeat.counts_as_the_kernel()
    shares = _shares_memory(NODES)
    ranks = _ranks(Path(machine.memory)) if is_host and machine.memory else frozenset()
    with remembered(machine.kept, "gpu_tenants", Memory, over_gaps=False) as memory:
        known = recalled(gpus, memory.gpus, Past)
        return [_sample(gpu, past, is_host and not shares, ranks) for gpu, past in known]


def _sample(gpu: GpuTenants, past: Past, tells: bool, ranks: Collection[int]) -> TenantsSample:
    strangers = [each for each in gpu.processes or () if _is_stranger(each, ranks)]
    residue = _residue(gpu) if tells else 0
    stay = [each for each in strangers if each.pid in past.strangers]
    held = min(residue, past.residue)
    past.strangers, past.residue = sorted(each.pid for each in strangers), residue
    return TenantsSample(gpu, [(each, heartbeat.process_name(each.pid)) for each in stay], held)


def _ranks(memory: Path) -> frozenset[int]:
    """Give the processes of this node that beat, as the host counts them."""
    found = set()
    for path in (memory / "beats").glob(f"*{SUFFIX}"):
        with suppress(HeartbeatError, OSError):  # it ended meanwhile, or somebody else's file lies there
            record = reader.read(path)
            found.add(find_process(record.pid, record.started))
    return frozenset(found - {0})


def _is_stranger(process: GpuProcess, ranks: Collection[int]) -> bool:
    """Say whether it is nobody of ours. Where no rank is, everybody may be one who does not beat."""
    if not ranks or (process.memory_bytes or 0) < HELD_BYTES:
        return False
    try:
        family = {process.pid, *(each.pid for each in psutil.Process(process.pid).parents())}
    except psutil.Error:
        return False  # gone, or not to be looked at
    return not family & set(ranks)


def _shares_memory(nodes: Path) -> bool:
    """Say whether the kernel may have put its own pages on a GPU: there its memory is a NUMA node.

    So it is beside a Grace processor (GH200, GB200). It is a node without processors.
    """
    memory, processors = (_nodes(nodes / name) for name in ("has_memory", "has_cpu"))
    return bool(processors) and not memory <= processors


def _nodes(path: Path) -> frozenset[int]:
    """Read a list such as `0-1,4`; empty where there is none."""
    try:
        spans = [span.split("-") for span in path.read_text().strip().split(",") if span]
        return frozenset(node for span in spans for node in range(int(span[0]), int(span[-1]) + 1))
    except (OSError, ValueError):
        return frozenset()


def _residue(gpu: GpuTenants) -> int:
    """Give the memory that is held on a GPU at rest without a process; of an instance NVML does not tell."""
    is_empty = gpu.processes == () and not gpu.utilisation_percent and not gpu.mig
    held = gpu.memory_used_bytes or 0
    return held if is_empty and held >= HELD_BYTES else 0


def judge(samples: Sequence[TenantsSample]) -> Iterator[Finding]:
    """One finding per fault and GPU."""
    return findings("gpu_tenants", samples, _gpu, _judge)


def _gpu(sample: TenantsSample) -> GpuDetail:
    return sample.gpu


def _judge(sample: TenantsSample) -> Said:
    if sample.strangers:
        who = ", ".join(f"{name or '?'} ({each.pid})" for each, name in sample.strangers)
        evidence = {"memory_bytes": sum(each.memory_bytes or 0 for each, _ in sample.strangers)}
        said = f"is used by processes that are no rank here: {who}"
        yield "gpu-stranger", Health.WARNING, said, evidence
    if sample.residue_bytes:
        evidence = {"memory_used_bytes": sample.residue_bytes}
        yield "gpu-residue", Health.WARNING, "has memory in use that no process holds", evidence
    if sample.gpu.mig_pending is not None and sample.gpu.mig_pending is not sample.gpu.mig:
        wanted = "split into instances" if sample.gpu.mig_pending else "whole"
        yield "mig-pending", Health.WARNING, f"is to be {wanted} (MIG), which waits for its reset", {}


def metrics(samples: Sequence[TenantsSample]) -> dict[Series, float]:
    """Gauges per GPU."""
    shown: dict[Series, float] = {}
    for gpu in (sample.gpu for sample in samples):
        shown |= gauges(
            gpu,
            gpu_processes=None if gpu.processes is None else len(gpu.processes),
            gpu_mig_enabled=gpu.mig,
            gpu_mig_instances=gpu.mig_instances,
        )
    return shown


CHECK = Check(
    "gpu_tenants",
    every=30.0,
    deadline=5.0,
    measure=measure,
    judge=judge,
    causes=("gpu-residue",),
    metrics=metrics,
)
