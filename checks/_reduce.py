"""How fast members reduce together, through what the collectives of a job go through: NCCL, or else gloo."""

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import psutil

from sentinel.model.collective import ABOUT, Meeting, MemberSample

PASSES = 5
ENOUGH_S = 0.3
"""The amount of data is doubled until it takes so long: set-up counts little then, and it ends soon."""
LEAST, MOST, MOST_ON_GPU = 1 << 16, 1 << 23, 1 << 28
"""Bytes in one transfer."""
SHARE = 0.9
"""Of the deadline, after which a collective gives up by itself and says why."""
ROOM = 8 << 30
"""Bytes that have to be free on a GPU: a job that is about to take more finds it all the same."""
NCCL = "nccl_gpus"
"""Value that says over how many GPUs of each node this was; 0 is gloo. Only like is compared with like."""


OVER = "over"
"""Word of a sample: what it went through. Figures of one network are compared with those of the same."""


class _Lane(NamedTuple):
    """What one device of each member reduces through."""

    group: Any
    device: Any


def measure(meeting: Meeting) -> Mapping[str, float]:
    """Give `mb_per_s` of a large all-reduce, `ms` that one of four bytes takes, and what it went through.

    GPU k of a member reduces with GPU k of each other one, all at once, as the rails of a fabric are used: a
    job waits for the slowest, so `mb_per_s` is its speed, times the number of rails. Bandwidth is that of the
    bus, 2 (n - 1) / n times what was reduced a second: as much goes through each member's link, however many
    members there are.
    """
    import torch  # where there is none this says so
    import torch.distributed as dist

    within, world = timedelta(seconds=SHARE * meeting.deadline), len(meeting.members)
    store = dist.TCPStore(meeting.addresses[0], meeting.port, world, meeting.rank == 0, within)
    gpus = _agreed(store, meeting, _usable_gpus())
    lanes = _over_nccl(store, meeting, gpus, within) if gpus else _over_gloo(store, meeting, within)
    longest = dist.AllreduceOptions()
    longest.reduceOp = dist.ReduceOp.MAX

    def seconds(size: int) -> float:
        """Time an all-reduce of so many bytes; all agree on the longest, so that they stop together."""
        tensors = [torch.zeros(size // 4, device=lane.device) for lane in lanes]
        _finish(lanes)
        begun = time.perf_counter()
        works = [lane.group.allreduce([each]) for lane, each in zip(lanes, tensors, strict=True)]
        for work in works:
            work.wait()
        _finish(lanes)
        took = torch.tensor([time.perf_counter() - begun], device=lanes[0].device)
        lanes[0].group.allreduce([took], longest).wait()
        return float(took)

    try:
        shortest = min(seconds(4) for _ in range(PASSES))
        size, took = LEAST, 0.0
        while took < ENOUGH_S and size <= (MOST_ON_GPU if gpus else MOST):
            took, size = seconds(size), 2 * size
    finally:
        for lane in lanes:
            lane.group.shutdown()
    bus = 2 * (world - 1) / world
    measured = {"mb_per_s": bus * len(lanes) * size / 2 / took / 1e6, "ms": shortest * 1e3, NCCL: float(gpus)}
    return measured | {f"{ABOUT}{OVER}|{_over(meeting, gpus)}": 0.0}


def over_one_stack(samples: Iterable[MemberSample]) -> list[MemberSample]:
    """Keep what most of the measured samples went through, of two as many the one with more GPUs.

    What goes over processors where others use GPUs is slower, and no link is to blame.
    """
    measured = [sample for sample in samples if "mb_per_s" in sample.values]
    counted = Counter([sample.values.get(NCCL, 0.0) for sample in measured])
    if len(counted) == 1:
        return measured
    usual = max(counted, key=lambda gpus: (counted[gpus], gpus), default=0.0)
    return [sample for sample in measured if sample.values.get(NCCL, 0.0) == usual]


def _over(meeting: Meeting, gpus: int) -> str:
    """Say what this node reduces through: which GPUs, or else how fast its interface says that it is."""
    import torch

    if gpus:
        return f"NCCL, {torch.cuda.get_device_name(0)} x{gpus}"
    here, known = meeting.addresses[meeting.rank], psutil.net_if_stats()
    speeds = (known[name].speed for name in _with_address(here) if name in known)
    return f"gloo, {next(speeds, 0)} Mbit/s"


def _usable_gpus() -> int:
    """Count the GPUs; 0 if there are none, or one has too little room."""
    import torch

    if not torch.cuda.is_available() or not torch.distributed.is_nccl_available():
        return 0
    count = torch.cuda.device_count()
    return count if all(_free(number) >= ROOM for number in range(count)) else 0


def _free(gpu: int) -> int:
    """Give bytes, asked of the driver: CUDA itself would take some of them to answer."""
    import torch

    return int(torch.cuda.get_device_properties(gpu).total_memory - torch.cuda.device_memory_used(gpu))


def _agreed(store: Any, meeting: Meeting, gpus: int) -> int:
    """Give over how many GPUs all members measure: 0 unless each has as many."""
    store.set(f"gpus/{meeting.rank}", str(gpus))
    said = {int(store.get(f"gpus/{rank}")) for rank in range(len(meeting.members))}
    return gpus if len(said) == 1 else 0


def _over_gloo(store: Any, meeting: Meeting, within: timedelta) -> Sequence[_Lane]:
    import torch
    import torch.distributed as dist

    gloo = dist.ProcessGroupGloo
    options = gloo._Options()
    options._timeout = within
    options._devices = [gloo.create_device(hostname=meeting.addresses[meeting.rank])]
    return [_Lane(gloo(store, meeting.rank, len(meeting.members), options), torch.device("cpu"))]


def _over_nccl(store: Any, meeting: Meeting, gpus: int, within: timedelta) -> Sequence[_Lane]:
    """Give a group for each GPU, through the network also where two members are on one host."""
    import torch
    import torch.distributed as dist

    os.environ["NCCL_HOSTID"] = meeting.members[meeting.rank]
    os.environ.setdefault("NCCL_SOCKET_IFNAME", f"={_interface(meeting.addresses[meeting.rank])}")
    nccl: Any = dist.ProcessGroupNCCL  # a build without it has no such name
    lanes = []
    for gpu in range(gpus):
        options = nccl.Options()
        options._timeout = within
        rail = dist.PrefixStore(f"rail/{gpu}", store)
        lanes.append(
            _Lane(nccl(rail, meeting.rank, len(meeting.members), options), torch.device("cuda", gpu))
        )
    return lanes


def _interface(address: str) -> str:
    """Name the interface that has an address."""
    return next(_with_address(address))


def _with_address(address: str) -> Iterator[str]:
    """Give the interfaces that have an address; none where a host is reached by another one than its own."""
    by_name = psutil.net_if_addrs().items()
    return (name for name, has in by_name if any(each.address == address for each in has))


def _finish(lanes: Sequence[_Lane]) -> None:
    """Wait for what is under way on GPUs."""
    import torch

    for lane in lanes:
        if lane.device.type == "cuda":
            torch.cuda.synchronize(lane.device)
