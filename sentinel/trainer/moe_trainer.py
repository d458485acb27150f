"""The bundled trainer: FSDP2 around the mixture-of-experts model, one batch per step and rank."""

import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from sentinel.model.trainable import Beats, Place, Replayed, ReplayWhy, SaveReport, StepResult
from sentinel.trainer.build import MOMENTS, adamw, sharded_model, torch_device
from sentinel.trainer.checksums import LocalGradients, digest_of, kind_of, pack, unpack
from sentinel.trainer.collectives import CollectiveWatch, NoBeats
from sentinel.trainer.data import Batch, ensure_dataset, parse_batch, read_batch
from sentinel.trainer.layout import layout_of
from sentinel.trainer.replay import Replays, Run, largest
from sentinel.trainer.saver import Saver
from sentinel.trainer.settings import TrainerSettings, read_settings
from sentinel.trainer.simulated_device import SimulatedDevice


class MoeTrainer:
    """A `Trainable` whose losses depend on settings, world size and skipped steps, and on nothing else."""

    def __init__(self, settings: TrainerSettings | None = None, **chosen: Any) -> None:
        """`settings`, or those of the file in SENTINEL_TRAINER with `chosen` values on top."""
        self.settings = settings or read_settings(**chosen)
        self.layout = layout_of(self.settings)
        self.skipped: set[int] = set()
        self._device = SimulatedDevice()
        self._saver: Saver | None = None
        torch.set_num_threads(1)  # more threads would sum in another order

    def warm(self, gpu: int) -> None:
        """Build and train once in a group of one: what torch does only once per process is then done."""
        backend = "nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
        try:
            self.setup(Place(0, 1, gpu, 0, backend), NoBeats())
            blank = parse_batch(bytes(self.layout.record_bytes), self.layout)
            self._apply(self._close(0, self._backward(0, 0, blank), vote=0)[0])
        finally:
            self.teardown()
            dist.destroy_process_group()
            torch.cuda.empty_cache()  # nothing happens where there is no CUDA

    def setup(self, place: Place, beats: Beats) -> None:
        """Build model and optimizer on the current default group; the same on every rank, from the seed."""
        ensure_dataset(self.settings.data, self.layout)
        self._place, self._beats = place, beats
        self._torch_device = torch_device(place)
        self._watch = CollectiveWatch(beats, self._torch_device)
        self._local = LocalGradients()
        self._replays = Replays(place.rank, place.world, self.settings.replay_every)
        self._model = sharded_model(self.settings, self._torch_device, place, self._watch, self._local)
        self._optimizer = adamw(self._model, self.settings)
        self._updates, self._last_step, self._anyone_saves = 0, -1, False
        self._saver = Saver(place, self._torch_device, self.settings.keep)

    def step(self, step: int, vote: int) -> StepResult:
        """Train on batch `step`; a skipped one has loss 0. A loss that is not finite changes nothing."""
        self._watch.begin()
        if step in self.skipped:
            result, _ = self._close(step, 0.0, vote)
        else:
            batch = self._read(step, self._place.rank)
            loss = self._compute(step, self._place.rank, batch)
            result, norm = self._close(step, loss, vote)
            if why := self._replays.wanted(step, largest(result.local_losses), norm):
                result = replace(result, replayed=self._replay(why, step, batch, loss))
        self._apply(result)
        return result

    def _replay(self, why: ReplayWhy, step: int, batch: Batch, loss: float) -> Replayed:
        """Have the devices compared; the gradients of this step are then what they were before."""
        kind = kind_of(self._torch_device)
        first = Run(self._place.rank, digest_of(batch), self._local.digest(loss), kind)
        kept = [each.grad.to_local().cpu() for each in self._model.parameters()]  # a GPU has room for one set

        def run(whose: int) -> Run:
            self._optimizer.zero_grad()
            read = batch if whose == self._place.rank else self._read(step, whose)
            found = self._compute(step, whose, read)
            return Run(whose, digest_of(read), self._local.digest(found), kind)

        replayed = self._replays.replay(why, first, run, self._exchange)
        for parameter, gradient in zip(self._model.parameters(), kept, strict=True):
            parameter.grad.to_local().copy_(gradient)
        return replayed

    def _exchange(self, runs: Sequence[Run]) -> list[list[Run]]:
        """Every rank's runs, in rank order."""
        self._beats.phase("collective")
        return [unpack(each) for each in self._gather(pack(runs))]

    def _read(self, step: int, rank: int) -> Batch:
        self._beats.phase("data")
        with self._watch.own_wait():
            return read_batch(self.settings.data, self.layout, step, rank)

    def _compute(self, step: int, rank: int, batch: Batch) -> float:
        """Gradients of the batch that `rank` has in this step; returns its loss."""
        self._beats.phase("compute")
        with self._watch.own_wait():
            self._device.run(self._place.gpu, self.settings.step_seconds)
        return self._backward(step, rank, batch)

    def _backward(self, step: int, rank: int, batch: Batch) -> float:
        """Gradients, reduced over all ranks; a function of parameters, seed, step and whose batch it is."""
        torch.manual_seed((self.settings.seed * 1_000_003 + step) * 4096 + rank)
        self._local.begin()
        self._local.flips = self._device.flips
        loss = self._model(*(tensor.to(self._torch_device) for tensor in batch))
        if self._device.corrupt:
            loss = loss * math.nan
        loss.backward()
        return float(loss.detach())

    def _close(self, step: int, loss: float, vote: int) -> tuple[StepResult, float]:
        """The closing collective: everyone learns everyone's loss before anyone changes a parameter.

        Returns also the largest norm of a rank's own gradients.
        """
        outside = self._watch.outside()
        self._beats.phase("collective")
        arrival = time.time()
        saves = float(self._saver is not None and self._saver.busy)
        row = [loss, outside, arrival, float(vote), saves, self._local.norm()]
        gathered = self._gather(torch.tensor(row, dtype=torch.float64))
        table: list[list[float]] = torch.stack(gathered).tolist()
        losses = [row[0] for row in table]
        self._anyone_saves = any(row[4] for row in table)
        mean = sum(losses) / len(losses)
        result = StepResult(
            step=step,
            loss=mean if math.isfinite(mean) else math.nan,
            local_losses=losses,
            outside_s=outside,
            arrival=arrival,
            votes=[int(row[3]) for row in table],
            last=0 < self.settings.steps <= step + 1,
        )
        return result, largest(row[5] for row in table)

    def _gather(self, mine: torch.Tensor) -> list[torch.Tensor]:
        """Every rank's tensor, in rank order and on the CPU."""
        mine = mine.to(self._torch_device)
        table = [torch.empty_like(mine) for _ in range(self._place.world)]
        with self._watch.collective():
            dist.all_gather(table, mine)
        rows = [each.cpu() for each in table]
        self._watch.drain()
        return rows

    def _apply(self, result: StepResult) -> None:
        """Change the parameters, unless the step was left out, is not finite, or one was seen to be wrong."""
        wrong = result.replayed is not None and result.replayed.ranks
        if math.isfinite(result.loss) and not wrong:
            if result.step not in self.skipped:
                self._optimizer.step()
                self._updates += 1
            self._last_step = result.step
        self._optimizer.zero_grad()

    def state(self) -> Mapping[str, Any]:
        """Copies of this rank's shards on the CPU, and the counters.

        No generator state: every step seeds its own from (seed, step, rank).
        """
        shards = {
            name: tensor.to_local().detach().to("cpu", copy=True) for name, tensor in self._tensors().items()
        }
        return {**shards, "updates": self._updates, "step": self._last_step}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over such a state; raises KeyError or RuntimeError when it is another model's."""
        with torch.no_grad():
            for name, tensor in self._tensors().items():
                tensor.to_local().copy_(state[name])
        self._resume_at(int(state["step"]), int(state["updates"]))

    def save(self, directory: os.PathLike[str], step: int) -> None:
        """Copy the state and write it in the background; not while any rank still writes the last one."""
        assert self._saver is not None, "set up first"
        self._beats.phase("save")
        if self._anyone_saves:
            return
        self._anyone_saves = True
        self._saver.start(Path(directory), step, lambda: self._copies(step))

    def _copies(self, step: int) -> Mapping[str, Any]:
        """Copy what a checkpoint holds; it is for the device's memory to say whether there is room.

        On a GPU the saving thread reads them on the default stream, which training uses too: in this order.
        """
        copies = {name: tensor.detach().clone() for name, tensor in self._tensors().items()}
        return {**copies, "counters": torch.tensor([step, self._updates])}

    def save_report(self) -> SaveReport:
        """What became of the checkpoints of this generation."""
        return self._saver.report if self._saver else SaveReport()

    def finish_save(self, seconds: float) -> bool:
        """Wait for a running save; false when it takes longer."""
        if self._saver is not None and not self._saver.finish(seconds):
            return False
        self._anyone_saves = False
        return True

    def latest(
        self, directory: os.PathLike[str], above: int = -1, since: int = -1
    ) -> tuple[int, Sequence[str]]:
        """Load the newest checkpoint that verifies; see the protocol."""
        assert self._saver is not None, "set up first"
        counters = torch.tensor([-1, 0])
        tensors = {name: tensor.detach() for name, tensor in self._tensors().items()}
        wanted = {**tensors, "counters": counters}
        found, passed_over = self._saver.load_newest(Path(directory), wanted, above, since)
        if found >= 0:
            self._resume_at(int(counters[0]), int(counters[1]))
        return found, passed_over

    def skip(self, steps: Sequence[int]) -> None:
        """Leave these batches out from now on."""
        self.skipped.update(steps)

    def teardown(self) -> None:
        """Drop what belongs to the process group; a save that runs loses its group and ends itself."""
        self._saver = None
        self._model = self._optimizer = None

    def _tensors(self) -> dict[str, Any]:
        """Every sharded tensor of the training state by name, live."""
        tensors = {}
        for name, parameter in self._model.named_parameters():
            tensors[f"model.{name}"] = parameter
            for moment in MOMENTS:
                tensors[f"{moment}.{name}"] = self._optimizer.state[parameter][moment]
        return tensors

    def _resume_at(self, step: int, updates: int) -> None:
        self._last_step, self._updates = step, updates
        for state in self._optimizer.state.values():
            state["step"].fill_(updates)
