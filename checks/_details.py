"""What the checks of a GPU's details share: no GPU is said once, and one that can't be read is unknown."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from sentinel.model.check import Series, series
from sentinel.model.finding import Finding, Health, skipped
from sentinel.model.gpu_sample import GpuDetail

NO_GPU = "no GPU is here, or none is to be asked"
Evidence = Mapping[str, str | int | float]
S = TypeVar("S")
G = TypeVar("G", bound=GpuDetail)
K = TypeVar("K")
Said = Iterable[tuple[str, Health, str, Evidence]]
"""Code, health, what is said after the GPU's name, and evidence."""


def findings(
    check: str, samples: Sequence[S], gpu_of: Callable[[S], GpuDetail], judge: Callable[[S], Said]
) -> Iterator[Finding]:
    """Judge each GPU. What was found of one that can't be read stands, for an unreadable one says so."""
    if not samples:
        yield skipped(check, NO_GPU)
    for sample in samples:
        gpu = gpu_of(sample)
        component, named = f"gpu-{gpu.index}", {"uuid": gpu.uuid, "pci": gpu.pci}
        if gpu.error:
            unread = f"{check.replace('_', '-')}-unreadable"
            said = f"GPU {gpu.index} can't be read: {gpu.error}"
            yield Finding(check, unread, component, Health.UNKNOWN, said, named)
        for code, health, said, evidence in judge(sample):
            yield Finding(check, code, component, health, f"GPU {gpu.index} {said}", {**named, **evidence})


def recalled(gpus: Sequence[G], known: dict[str, K], new: Callable[[], K]) -> list[tuple[G, K]]:
    """Give each GPU with what is remembered of it, to be changed in place. An exchanged one begins anew."""
    before = dict(known)
    known.clear()
    return [
        (gpu, known.setdefault(me, before.get(me) or new()))
        for gpu in gpus
        for me in [gpu.uuid or str(gpu.index)]
    ]


def gauges(gpu: GpuDetail, **values: float | bool | None) -> dict[Series, float]:
    """Give what there is of one GPU's values, as gauges of these names."""
    return {series(name, gpu=gpu.index): float(value) for name, value in values.items() if value is not None}
