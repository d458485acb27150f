"""A training script as anybody has one: torchrun starts it, and all it knows of Sentinel is `heartbeat`."""

import contextlib
import os
import time
from pathlib import Path

import torch
import torch.distributed as dist

from sentinel import heartbeat
from sentinel.demo.torchrun import CHECKPOINT, STEP_S
from sentinel.trainer.simulated_device import SimulatedDevice

EVERY = 5
"""Steps between checkpoints."""


def main() -> None:
    """Train a line for ever, from the last checkpoint on."""
    beats = heartbeat.start()
    device, gpu = SimulatedDevice(), int(os.environ["LOCAL_RANK"])
    checkpoint, seconds = Path(os.environ[CHECKPOINT]), float(os.environ[STEP_S])
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    torch.manual_seed(dist.get_rank())
    weight, first = _load(checkpoint)
    while True:
        began = time.monotonic()
        beats.phase("compute")
        inputs = torch.randn(16)
        gradient = ((weight - 3.0) * inputs * inputs).mean().reshape(1)
        device.run(gpu, seconds)
        outside = time.monotonic() - began
        beats.enqueue()
        beats.phase("collective")
        arrival = time.time()
        dist.all_reduce(gradient)
        beats.complete()
        weight -= 0.01 * gradient / dist.get_world_size()
        beats.step_done(first, float((weight - 3.0) ** 2), outside, arrival)
        first += 1
        if dist.get_rank() == 0 and first % EVERY == 0:
            _save(checkpoint, weight, first)


def _load(checkpoint: Path) -> tuple[torch.Tensor, int]:
    with contextlib.suppress(FileNotFoundError):
        weight, step = checkpoint.read_text().split()
        return torch.tensor([float.fromhex(weight)]), int(step)
    return torch.zeros(1), 0


def _save(checkpoint: Path, weight: torch.Tensor, step: int) -> None:
    draft = checkpoint.with_suffix(".new")
    draft.write_text(f"{float(weight).hex()} {step}")
    draft.replace(checkpoint)


if __name__ == "__main__":
    main()
