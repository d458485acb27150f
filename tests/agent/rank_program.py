"""A rank without training: writes its heartbeat record until it is killed."""

import sys
import time
from pathlib import Path

from sentinel.heartbeat import HeartbeatWriter

memory, worker, rank = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
beats = HeartbeatWriter(memory / "beats" / f"{worker}.beat", job="job", worker=worker, gpu=rank)
beats.place(rank, 1, gpu=rank)
print("up", flush=True)
step = 0
while True:
    beats.phase("compute")
    time.sleep(0.05)
    beats.step_done(step, loss=1.5)
    step += 1
