"""One rank of the bundled trainer that is watched in some blocks of steps and left alone in others."""

import argparse
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch.distributed as dist

from benchmarks.watching.desk import JOB
from sentinel.adapters.agent_card import read
from sentinel.adapters.keys import Keys
from sentinel.gang.snapshots import PeerSender, Slots, encode, job_key, snapshots_of, word_for
from sentinel.heartbeat import HeartbeatWriter
from sentinel.model.trainable import Place, StepResult
from sentinel.trainer.collectives import NoBeats
from sentinel.trainer.moe_trainer import MoeTrainer
from sentinel.trainer.settings import TrainerSettings

Kind = Literal["bare", "watched", "kept"]
"""Alone; with heartbeats, agent, prober and desk; and with a memory snapshot, own and peer's, each step."""
WARM_STEPS = 50
SETTLE_STEPS = 5
"""Steps at the start of a block that are left out: the watchers have just been stopped or let go on."""


class Tap:
    """What the trainer beats into; `open` and `close` put a writer or nobody behind the same calls."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.close()

    def open(self, beats: Any) -> None:
        """Pass calls on to a writer."""
        self.phase, self.enqueue, self.complete = beats.phase, beats.enqueue, beats.complete

    def close(self) -> None:
        """Pass them to nobody."""
        self.open(NoBeats())

    def count(self) -> None:
        """Count calls instead of passing them on."""
        for name in ("phase", "enqueue", "complete"):
            setattr(self, name, lambda *_, name=name: self.calls.update([name]))


class Rank:
    """Trains block after block; rank 0 stops and continues the watchers between them."""

    def __init__(self, rank: int, world: int, root: Path, watchers: Sequence[int]) -> None:
        self._rank, self._world, self._root, self._watchers = rank, world, root, watchers
        self._tap, self._step = Tap(), 0
        self._beats: HeartbeatWriter | None = None
        self._trainer = MoeTrainer(TrainerSettings(data=str(root / "data")))
        self._trainer.setup(Place(rank, world, rank, 1, "gloo"), self._tap)
        memory = root / "memory"
        card = read(memory)
        assert card is not None
        peer = ("127.0.0.1", card.snapshot_port)
        secret = Keys(root / "keys").snapshot_secret
        self._sender = PeerSender(JOB, rank, peer, job_key(secret, JOB))
        self._word = word_for(secret, JOB, 1)
        self._slots = Slots(snapshots_of(memory, JOB), "owner", rank)

    def calls_per_step(self, steps: int = 20) -> dict[str, float]:
        """Warm up with nobody watching, then count what the trainer calls in a step."""
        self._signal(signal.SIGSTOP)
        for _ in range(WARM_STEPS):
            self._train("bare")
        self._tap.count()
        for _ in range(steps):
            self._train("bare")
        self._tap.close()
        return {name: calls / steps for name, calls in self._tap.calls.items()}

    def block(self, kind: Kind, steps: int) -> dict[str, list[float]]:
        """Seconds and CPU seconds of each step of a block."""
        self._switch(kind)
        times = [self._train(kind) for _ in range(steps + SETTLE_STEPS)][SETTLE_STEPS:]
        return {"seconds": [wall for wall, _ in times], "cpu": [cpu for _, cpu in times]}

    def _train(self, kind: Kind) -> tuple[float, float]:
        begun, cpu = time.perf_counter(), time.process_time()
        result = self._trainer.step(self._step, vote=0)
        if self._beats is not None:
            self._beats.step_done(self._step, result.loss, result.outside_s, result.arrival)
        if kind == "kept":
            self._keep(result)
        self._step += 1
        return time.perf_counter() - begun, time.process_time() - cpu

    def _keep(self, result: StepResult) -> None:
        """As the gang keeps a snapshot."""
        parts, acked = encode(self._trainer.state()), self._sender.acked_step
        info = self._slots.write(result.step, 1, self._world, parts, keep=acked)
        self._sender.send(result.step, 1, self._world, parts, word=self._word, keep=acked, crc=info.crc)
        if self._beats is not None:
            self._beats.snapshot_done(max(acked, -1))

    def _switch(self, kind: Kind) -> None:
        if kind == "bare" and self._beats is not None:
            self._tap.close()
            self._signal(signal.SIGSTOP)
            self._beats.close()
            self._beats = None
        elif kind != "bare" and self._beats is None:
            path = self._root / "memory" / "beats" / f"w{self._rank + 1}.beat"
            self._beats = HeartbeatWriter(path, job=JOB, worker=f"w{self._rank + 1}", gpu=self._rank)
            self._beats.place(self._rank, 1, self._rank)
            self._tap.open(self._beats)
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._rank == 0:
            for group in self._watchers:
                os.killpg(group, number)


def run(rank: Rank, rounds: int, steps: int, out: Path | None) -> None:
    """Every round has one block of each kind in an order of its own, the same on all ranks."""
    lines: list[dict[str, Any]] = [rank.calls_per_step()]
    for number in range(rounds):
        kinds = list(get_args(Kind))
        random.Random(number).shuffle(kinds)
        lines.append({kind: rank.block(kind, steps) for kind in kinds})
    if out:
        out.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("rank", "world", "rounds", "steps"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--watchers", type=int, nargs="+", required=True, help="process groups")
    given = parser.parse_args()
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    store = dist.FileStore(str(given.root / "store"), given.world)
    dist.init_process_group("gloo", store=store, rank=given.rank, world_size=given.world)
    rank = Rank(given.rank, given.world, given.root, given.watchers)
    run(rank, given.rounds, given.steps, given.root / "blocks.jsonl" if given.rank == 0 else None)
    dist.barrier()
    os._exit(0)


if __name__ == "__main__":
    main()
