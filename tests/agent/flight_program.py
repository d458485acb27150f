"""A rank that trains nothing, enters collectives of torch alone, and waits until it is killed."""

import os
import sys
import time
from pathlib import Path

os.environ |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
import torch
import torch.distributed as dist

from sentinel.heartbeat import HeartbeatWriter

folder, steps = Path(sys.argv[1]), int(sys.argv[2])
store = dist.FileStore(str(folder / "store"), 1)
dist.init_process_group("gloo", store=store, rank=0, world_size=1)
dist.all_reduce(torch.ones(1))  # before it took its place
beats = HeartbeatWriter(folder / "beats" / "w.beat", job="job", worker="w", gpu=0)
beats.place(3, 1, gpu=0)
for _ in range(steps):
    dist.all_reduce(torch.ones(1))
print("up", flush=True)
time.sleep(600)
