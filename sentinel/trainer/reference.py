"""An undisturbed run in plain processes: what the losses of a disturbed one are compared with."""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import torch.distributed as dist
import torch.multiprocessing as multiprocessing

from sentinel.model.trainable import Place
from sentinel.trainer.collectives import NoBeats
from sentinel.trainer.moe_trainer import MoeTrainer
from sentinel.trainer.settings import TrainerSettings, read_settings
from sentinel.trainer.simulated_device import DEVICE_VARIABLE


def run_reference(
    settings: TrainerSettings,
    world: int,
    steps: int,
    skip: Sequence[int],
    out: Path,
    *,
    how: Literal["spawn", "fork"] = "spawn",
) -> None:
    """Train steps 0 to `steps` - 1 with `world` processes; writes {"step", "loss" in hexadecimal} lines.

    A `fork` imports torch once for all ranks; it is for a process that has not computed anything yet.
    """
    with tempfile.TemporaryDirectory() as meeting:
        job = (settings, world, steps, tuple(skip), out, f"{meeting}/store")
        multiprocessing.start_processes(_rank, args=job, nprocs=world, start_method=how)


def _rank(
    rank: int, settings: TrainerSettings, world: int, steps: int, skip: Sequence[int], out: Path, store: str
) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.pop(DEVICE_VARIABLE, None)
    dist.init_process_group("gloo", store=dist.FileStore(store, world), rank=rank, world_size=world)
    trainer = MoeTrainer(replace(settings, step_seconds=0.0))
    trainer.setup(Place(rank, world, rank, 0, "gloo"), NoBeats())
    trainer.skip(skip)
    losses = [trainer.step(step, vote=0).loss for step in range(steps)]
    if rank == 0:
        lines = (json.dumps({"step": step, "loss": loss.hex()}) for step, loss in enumerate(losses))
        out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    trainer.teardown()
    dist.destroy_process_group()


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line: `python -m sentinel.trainer.reference --world 2 --steps 50 --config F --out F`."""
    parser = argparse.ArgumentParser(prog="sentinel.trainer.reference", description=__doc__)
    parser.add_argument("--world", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--config", type=Path, help="settings file; else the one in SENTINEL_TRAINER")
    parser.add_argument("--skip", default="", help="steps to leave out, as in 5,9")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args(arguments)
    try:
        settings = read_settings(chosen.config)
        skip = [int(step) for step in chosen.skip.split(",") if step]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    run_reference(settings, chosen.world, chosen.steps, skip, chosen.out, how="fork")
    return 0


if __name__ == "__main__":
    sys.exit(main())
