"""The tiny data-parallel job that every contender trains; a script for torchrun, a module for the rest."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

STEP_S = 0.05
WIDTH = 256

FOLDER = Path(os.environ.get("RECOVERY_FOLDER", "."))
SAVE_EVERY = int(os.environ.get("RECOVERY_SAVE_EVERY", "1"))
LIFETIME_S = float(os.environ.get("RECOVERY_LIFETIME_S", "300"))
"""Training ends by itself after this, should nobody be left to end it."""
TIMEOUT_S = float(os.environ["RECOVERY_TIMEOUT_S"]) if os.environ.get("RECOVERY_TIMEOUT_S") else None


class Tiny:
    """Model and optimizer of one rank on the current default process group."""

    def __init__(self, rank: int) -> None:
        torch.manual_seed(0)
        self.rank = rank
        layers = (torch.nn.Linear(WIDTH, WIDTH), torch.nn.ReLU(), torch.nn.Linear(WIDTH, WIDTH))
        self.model = DistributedDataParallel(torch.nn.Sequential(*layers))
        self.optimizer = torch.optim.AdamW(self.model.parameters())

    def step(self, number: int) -> float:
        """Train on batch `number`, padded to STEP_S before the ranks meet; returns this rank's loss."""
        begun = time.monotonic()
        chance = torch.Generator().manual_seed(number * 1000 + self.rank)
        x_BD = torch.randn(32, WIDTH, generator=chance)  # noqa: N806 - the suffix names the dimensions
        loss = (self.model(x_BD) - x_BD).square().mean()
        time.sleep(max(0.0, STEP_S - (time.monotonic() - begun)))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss)

    def state(self) -> dict[str, object]:
        """What a checkpoint holds; equal on all ranks."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, dict[str, object]]) -> None:
        """Go on from a checkpoint."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])


def save(tiny: Tiny, step: int) -> None:
    """Replace the checkpoint in one move, so that a death in between leaves the old one whole."""
    partial = FOLDER / "checkpoint.partial"
    torch.save({"step": step, **tiny.state()}, partial)
    partial.replace(FOLDER / "checkpoint.pt")


def saved() -> int:
    """Give the checkpoint's step, -1 for none; its tensors are not read."""
    path = FOLDER / "checkpoint.pt"
    return int(torch.load(path, mmap=True)["step"]) if path.exists() else -1


def restore(tiny: Tiny) -> int:
    """Load the checkpoint if there is one; returns the first step to train."""
    path = FOLDER / "checkpoint.pt"
    if not path.exists():
        return 0
    state = torch.load(path)
    tiny.load(state)
    return int(state["step"]) + 1


def log_step(step: int, rank: int) -> None:
    """Append one line to the step log; short appends do not mix."""
    with (FOLDER / "steps.log").open("a") as log:
        log.write(f"{step} {time.time():.6f} {os.getpid()} {rank}\n")


def train(on_step: Callable[[], None] = lambda: None) -> None:
    """Train until the lifetime ends; `on_step` is called after every step."""
    torch.set_num_threads(1)
    rank = dist.get_rank()
    tiny = Tiny(rank)
    step = restore(tiny)
    dist.barrier()  # nobody may replace the checkpoint while another rank still reads it
    ends = time.monotonic() + LIFETIME_S
    while time.monotonic() < ends:
        tiny.step(step)
        log_step(step, rank)
        if rank == 0 and step % SAVE_EVERY == 0:
            save(tiny, step)
        on_step()
        step += 1


def join() -> None:
    """Form the process group from the launcher's environment."""
    dist.init_process_group("gloo", timeout=timedelta(seconds=TIMEOUT_S) if TIMEOUT_S else None)


if __name__ == "__main__":
    join()
    train()
