"""Each device multiplies matrices and copies memory: how fast, and whether every number is right.

A product of small whole numbers is exact in any order of its sums, so the right answer is known beforehand:
what differs was computed wrong, without any error that a driver counts.
"""

import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from sentinel.checks._torch import load
from sentinel.model.collective import (
    ABOUT,
    CollectiveCheck,
    Figure,
    Meeting,
    MemberFinding,
    MemberSample,
    Round,
)
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId, Seconds

if TYPE_CHECKING:
    import torch

RATE_FOR_S: Seconds = 1.0
"""So long each rate is measured on a GPU: a processor's clock settles within tenths of a second."""
WRONG = "wrong_numbers"
"""How many numbers of exact products were wrong: no rate."""
AT_ONCE = 10
"""Pieces of work between two looks at the clock on a GPU."""
SIZE, SIZE_CPU = 8192, 512
"""Rows of the matrices whose rate is measured: a GPU is kept busy, and a processor not for long."""
EXACT = 1024
"""Rows of those whose product is known: no sum exceeds 4 · EXACT, so it is exact, also of 16-bit factors."""
PASSES = 8
"""Exact products in a measurement: wrong ones come now and then."""
COPIED = 1 << 30
"""Bytes of a copy on a GPU, and of one to it and from it."""
REDUCED = 1 << 30
"""Bytes that all GPUs of a node reduce together: less does not fill what is between them."""
LOW = 0.05
"""A rate so much below that of its likes is low (SuperBench's limit against a fleet's baseline)."""
OUTLIER = 3.5
"""Modified z-score, 0.6745 (x - median) / MAD, from which on a value is an outlier (Iglewicz and Hoaglin)."""
LEAST_MAD = 0.01
"""Of the median: devices that are all but alike would make outliers of each other."""
LIKES = 3
"""With fewer others of its kind nobody knows which of them is the slow one."""
FLOORS: Mapping[tuple[str, str], float] = {
    ("H100", "h2d_gb_per_s"): 48.0,
    ("H100", "d2h_gb_per_s"): 48.0,
    ("H200", "h2d_gb_per_s"): 48.0,
    ("H200", "d2h_gb_per_s"): 48.0,
}
"""Part of a device's name, and what it has to reach alone (Azure's limits for its own health checks)."""
_APART = "|"
DRIVER, PROCESSOR = Path("/proc/driver/nvidia/version"), Path("/proc/cpuinfo")
VERSION = re.compile(r"Kernel Module[^\n]*?\s(\d+(?:\.\d+)+)")
"""In `NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build …`."""


class Value(NamedTuple):
    """One measured value of one device."""

    node: NodeId
    device: str
    """`gpu-3`, `gpus` for all of a node together, or `cpu` where no GPU is to be had."""
    kind: str
    """The device's name, such as `NVIDIA H200`."""
    what: str
    """With its unit: `bf16_tflops`, `copy_gb_per_s`, `wrong_numbers`."""
    number: float


def measure(meeting: Meeting) -> Mapping[str, float]:  # noqa: ARG001 - each node measures alone
    """Give `device|kind|what` → value for each device of this node, and with what that was."""
    import torch  # where there is none this says so

    driver = versions[0] if (versions := VERSION.findall(_text(DRIVER))) else ""
    words = {"torch": torch.__version__} | ({"driver": driver} if driver else {})
    values: dict[str, float] = {f"{ABOUT}{what}{_APART}{word}": 0.0 for what, word in words.items()}
    for device, name in _devices(torch):
        values |= {_APART.join((name, kind, what)): number for kind, what, number in _measure(torch, device)}
    if (count := len(_devices(torch))) > 1:
        kind = f"{torch.cuda.get_device_name(0)} x{count}"
        values[_APART.join(("gpus", kind, "all_reduce_gb_per_s"))] = _together(torch, count)
    return values


def _devices(torch: Any) -> Sequence[tuple["torch.device", str]]:
    if torch.cuda.is_available():
        return [(torch.device("cuda", n), f"gpu-{n}") for n in range(torch.cuda.device_count())]
    return [(torch.device("cpu"), "cpu")]


def _measure(torch: Any, device: "torch.device") -> Iterator[tuple[str, str, float]]:
    is_gpu = device.type == "cuda"
    kind = torch.cuda.get_device_name(device) if is_gpu else processor(torch.get_num_threads())
    yield kind, WRONG, float(sum(_wrong(torch, device, seed) for seed in range(PASSES)))
    types = {"bf16": torch.bfloat16, "fp32": torch.float32} if is_gpu else {"fp32": torch.float32}
    for word, dtype in types.items():
        yield kind, f"{word}_tflops", _rate(torch, device, dtype)
    if is_gpu:
        here = torch.empty(COPIED // 4, device=device)
        there = torch.empty(COPIED // 4, pin_memory=True)
        yield kind, "copy_gb_per_s", 2 * _speed(torch, device, lambda: here.clone())  # read and written
        yield kind, "h2d_gb_per_s", _speed(torch, device, lambda: here.copy_(there, non_blocking=True))
        yield kind, "d2h_gb_per_s", _speed(torch, device, lambda: there.copy_(here, non_blocking=True))


def processor(threads: int, file: Path = PROCESSOR) -> str:
    """Name the kind of processor that so many threads compute on."""
    named = re.search(r"^model name\s*:\s*(.+)$", _text(file), re.MULTILINE)
    name = named[1].strip().replace(_APART, "/") if named else "cpu"
    return f"{name} x{threads}"


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _together(torch: Any, count: int) -> float:
    """GB/s of the bus, 2 (n - 1) / n times what all GPUs of this node reduce a second."""
    import torch.cuda.nccl as nccl

    tensors = [torch.zeros(REDUCED // 4, device=f"cuda:{number}") for number in range(count)]

    def reduce() -> None:
        nccl.all_reduce(tensors)
        for number in range(count):
            torch.cuda.synchronize(number)

    took = _seconds(torch, tensors[0].device, reduce)
    return 2 * (count - 1) / count * REDUCED / took / 1e9


def _wrong(torch: Any, device: "torch.device", seed: int) -> int:
    """Multiply whole numbers from -2 to 2; give how many numbers of the product are not what they must be."""
    ones = torch.arange(EXACT * EXACT, dtype=torch.int64).reshape(EXACT, EXACT)
    left, right = (ones * (7919 + seed) % 10007 % 5 - 2, ones.T * (6007 + seed) % 10009 % 5 - 2)
    dtype = torch.bfloat16 if device.type == "cuda" and seed % 2 else torch.float32
    product = (left.to(device, dtype) @ right.to(device, dtype)).to("cpu", torch.float64)
    right_answer = left.double() @ right.double()
    if dtype is torch.bfloat16:  # its result has 8 bits: the right answer, rounded
        right_answer = right_answer.to(torch.bfloat16).double()
    return int((product != right_answer).sum())


def _rate(torch: Any, device: "torch.device", dtype: "torch.dtype") -> float:
    """TFLOP/s on random numbers: of zeros a GPU makes more, for its power is limited."""
    size = SIZE if device.type == "cuda" else SIZE_CPU
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return 2 * size**3 / _seconds(torch, device, lambda: left @ right) / 1e12


def _speed(torch: Any, device: "torch.device", copy: Any) -> float:
    return COPIED / _seconds(torch, device, copy) / 1e9


def _seconds(torch: Any, device: "torch.device", work: Any) -> Seconds:
    """Seconds that a piece of work takes, the median of as many as fit into the time.

    A GPU is given several at once: to wait for each by itself would count the waiting.
    """
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda _: None
    for_s, at_once = (RATE_FOR_S, AT_ONCE) if device.type == "cuda" else (RATE_FOR_S / 10, 1)
    work()
    wait(device)
    took: list[Seconds] = []
    while sum(took) < for_s:
        begun = time.perf_counter()
        for _ in range(at_once):
            work()
        wait(device)
        took.append(time.perf_counter() - begun)
    return median(took) / at_once


def judge(samples: Sequence[MemberSample]) -> Iterable[MemberFinding]:
    """Name a device that computes wrong, and one that is slower than its likes or than its kind has to be.

    Where a job runs beside it, a rate says nothing: wrong numbers do.
    """
    for value in (value for sample in samples for value in _values(sample)):
        if value.what == WRONG and value.number:
            yield _wrong_numbers(value)
    rates = list(_rates(samples))
    alike: dict[tuple[str, str], list[Value]] = defaultdict(list)
    for value in rates:
        alike[value.kind, value.what].append(value)
    for value in rates:
        others = [each.number for each in alike[value.kind, value.what] if each is not value]
        floor = next(
            (least for (kind, what), least in FLOORS.items() if kind in value.kind and what == value.what),
            0.0,
        )
        if _is_low(value.number, others) or value.number < floor:
            yield _slow(value, others, floor)


def figures(samples: Sequence[MemberSample]) -> Iterator[Figure]:
    """Give all rates, each of a device: those of the same device under the same driver are comparable."""
    under = {sample.node: ", ".join(map(" ".join, sorted(sample.about.items()))) for sample in samples}
    for each in _rates(samples):
        yield Figure(each.node, each.device, each.kind, each.what, each.number, under[each.node])


def _rates(samples: Sequence[MemberSample]) -> Iterator[Value]:
    values = (value for sample in samples if not sample.busy for value in _values(sample))
    return (value for value in values if value.what != WRONG)


def _values(sample: MemberSample) -> Iterator[Value]:
    for name, number in sample.values.items():
        if name.count(_APART) == 2:
            device, kind, what = name.split(_APART)
            yield Value(sample.node, device, kind, what, number)


def _is_low(rate: float, others: Sequence[float]) -> bool:
    if len(others) < LIKES:
        return False
    usual = median(others)
    spread = max(median(abs(each - usual) for each in others), LEAST_MAD * usual)
    return rate < (1 - LOW) * usual and 0.6745 * (rate - usual) / spread < -OUTLIER


def _wrong_numbers(value: Value) -> MemberFinding:
    said = f"{value.device} computes wrong: {value.number:.0f} numbers of an exact product"
    found = Finding(
        "gemm",
        "wrong-numbers",
        value.device,
        Health.CRITICAL,
        said,
        {"wrong_numbers": value.number},
        event=True,
    )
    return MemberFinding(value.node, found)


def _slow(value: Value, others: Sequence[float], floor: float) -> MemberFinding:
    what, unit = _words(value.what)
    evidence: dict[str, str | float] = {value.what: value.number}
    if value.number < floor:
        than = f"a {value.kind} has to reach {floor:.4g}"
        evidence[f"least_{value.what}"] = floor
    else:
        than = f"others of its kind {median(others):.4g}"
        evidence[f"others_{value.what}"] = median(others)
    said = f"{value.device} is slow: {what} {value.number:.4g} {unit}, {than}"
    return MemberFinding(
        value.node, Finding("gemm", "gpu-slow", value.device, Health.WARNING, said, evidence)
    )


def _words(what: str) -> tuple[str, str]:
    name, _, unit = what.partition("_")
    return name, {"tflops": "TFLOP/s", "gb_per_s": "GB/s"}.get(unit, unit)


def _alone(nodes: Sequence[NodeId], samples: Sequence[MemberSample]) -> Round:
    """Each by itself, all at once, and once."""
    return [] if samples else [(node,) for node in nodes]


CHECK = CollectiveCheck(
    "gemm",
    deadline=120.0,  # eight GPUs one after the other, five rates each, and a second or two for torch
    measure=measure,
    judge=judge,
    causes=("silent-corruption", "gpu-slow"),
    plan=_alone,
    figures=figures,
    prepare=load,
    behind="gpu-slow",
)
