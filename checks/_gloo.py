"""How fast members reduce together through gloo, as the collectives of a job on processors would."""

import time
from collections.abc import Mapping
from datetime import timedelta

from sentinel.model.collective import Meeting

PASSES = 5
ENOUGH_S = 0.3
"""The amount of data is doubled until it takes so long: set-up counts little then, and it ends soon."""
LEAST, MOST = 1 << 16, 1 << 23
"""Bytes in one transfer."""
SHARE = 0.9
"""Of the deadline, after which gloo gives up by itself and says why."""


def measure(meeting: Meeting) -> Mapping[str, float]:
    """Give `mb_per_s` of a large all-reduce, and `ms` that one of four bytes takes.

    Bandwidth is that of the bus, 2 (n - 1) / n times what was reduced a second: as much goes through each
    member's link, however many there are.
    """
    import torch  # where there is none this says so
    import torch.distributed as dist

    within, gloo = timedelta(seconds=SHARE * meeting.deadline), dist.ProcessGroupGloo
    first, mine, world = meeting.addresses[0], meeting.addresses[meeting.rank], len(meeting.members)
    store = dist.TCPStore(first, meeting.port, world, meeting.rank == 0, within)
    options = gloo._Options()
    options._timeout, options._devices = within, [gloo.create_device(hostname=mine)]
    group = gloo(store, meeting.rank, world, options)
    longest = dist.AllreduceOptions()
    longest.reduceOp = dist.ReduceOp.MAX

    def seconds(tensor: torch.Tensor) -> float:
        """Time an all-reduce: all members agree on the longest, so that they stop together."""
        begun = time.perf_counter()
        group.allreduce([tensor]).wait()
        took = torch.tensor([time.perf_counter() - begun])
        group.allreduce([took], longest).wait()
        return float(took)

    shortest = min(seconds(torch.zeros(1)) for _ in range(PASSES))
    size, took = LEAST, 0.0
    while took < ENOUGH_S and size <= MOST:
        took, size = seconds(torch.zeros(size // 4)), 2 * size
    bus = 2 * (world - 1) / world
    return {"mb_per_s": bus * size / 2 / took / 1e6, "ms": shortest * 1e3}
