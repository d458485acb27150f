"""The workload as a user of Sentinel writes it: a Trainable, on a cluster of one node."""

import argparse
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import workload

from sentinel.demo.sandbox import Sandbox, wait
from sentinel.model.trainable import Beats, Place, SaveReport, StepResult

START_S = 90.0
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class TinyTrainable:
    """The peers' model, optimizer, data and checkpoint behind Sentinel's protocol."""

    def warm(self, gpu: int) -> None:
        """Train once alone, so that a standby has imported and initialised all that torch needs."""
        del gpu
        torch.set_num_threads(1)
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        workload.Tiny(0).step(0)
        dist.destroy_process_group()

    def setup(self, place: Place, beats: Beats) -> None:
        """Build the model on the generation's group."""
        self._place, self._beats = place, beats
        self._tiny = workload.Tiny(place.rank)

    def step(self, step: int, vote: int) -> StepResult:
        """Train on one batch, agree, and log the step as the peers do."""
        begun = time.monotonic()
        self._beats.phase("compute")
        loss = self._tiny.step(step)
        outside = time.monotonic() - begun
        self._beats.phase("collective")
        arrival = time.time()
        mine = torch.tensor([loss, float(vote)], dtype=torch.float64)
        table = [torch.empty_like(mine) for _ in range(self._place.world)]
        self._beats.enqueue()
        dist.all_gather(table, mine)
        self._beats.complete()
        workload.log_step(step, self._place.rank)
        losses = [float(row[0]) for row in table]
        votes = [int(row[1]) for row in table]
        return StepResult(step, sum(losses) / len(losses), losses, outside, arrival, votes)

    def state(self) -> Mapping[str, Any]:
        """Parameters and moments by name; equal on all ranks."""
        return dict(self._tensors())

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over such a state."""
        self._make_moments()
        with torch.no_grad():
            for name, tensor in self._tensors():
                tensor.copy_(state[name])

    def save(self, directory: os.PathLike[str], step: int) -> None:  # noqa: ARG002 - the peers' own place
        """Replace the peers' checkpoint; rank 0's copy is everybody's."""
        if self._place.rank == 0:
            workload.save(self._tiny, step)

    def save_report(self) -> SaveReport:
        """A checkpoint is one blocking move here, so it never fails quietly."""
        return SaveReport()

    def latest(
        self,
        directory: os.PathLike[str],  # noqa: ARG002
        above: int = -1,
        since: int = -1,  # noqa: ARG002 - a new checkpoint replaces the one there is
    ) -> tuple[int, Sequence[str]]:
        """Load the peers' checkpoint, if it is newer."""
        newer = workload.saved() > above
        return workload.restore(self._tiny) - 1 if newer else -1, ()

    def skip(self, steps: Sequence[int]) -> None:
        """Nothing is ever skipped here."""

    def teardown(self) -> None:
        """Forget the model with its group."""
        del self._tiny

    def _make_moments(self) -> None:
        """AdamW has no moments before its first update; one of zero changes nothing that `load` keeps."""
        for parameter in self._tiny.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        self._tiny.optimizer.step()
        self._tiny.optimizer.zero_grad()

    def _tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        for name, parameter in self._tiny.model.named_parameters():
            yield name, parameter.detach()
            for moment in MOMENTS:
                yield f"{name}.{moment}", self._tiny.optimizer.state[parameter][moment]


def main() -> None:
    """Hold a cluster with Sentinel and the job on it, until told to end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, required=True)
    workers = parser.parse_args().workers
    job = {
        "trainable": "sentinel_job:TinyTrainable",
        "snapshot_every": workload.SAVE_EVERY,
        **({} if workload.TIMEOUT_S is None else {"collective_timeout_s": workload.TIMEOUT_S}),
    }
    with Sandbox.start(nodes=1, gpus_per_node=workers, world=workers, slack=False, job=job) as sandbox:
        wait("training with a warm standby", START_S, sandbox.ready)
        Path(workload.FOLDER, "settled").touch()
        time.sleep(workload.LIFETIME_S)


if __name__ == "__main__":
    main()
