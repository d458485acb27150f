"""Real rank processes for the tests: started once, told again and again to form a group and train."""

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import torch.distributed as dist

from sentinel.model.trainable import Place
from sentinel.trainer.collectives import NoBeats
from sentinel.trainer.moe_trainer import MoeTrainer

Scenario = Callable[..., Any]


class RankProcesses:
    """A pool of processes; `run` gives a scenario to the first `world` of them."""

    def __init__(self, count: int) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(["sentinel.trainer.moe_trainer"])  # torch is loaded once for all
        pairs = [context.Pipe() for _ in range(count)]
        self._pipes = [ours for ours, _ in pairs]
        self._processes = [context.Process(target=_serve, args=(theirs,), daemon=True) for _, theirs in pairs]
        for process in self._processes:
            process.start()

    def run(
        self,
        scenario: Scenario,
        world: int,
        *arguments: Any,
        generation: int = 1,
        seats: Sequence[int] | None = None,
    ) -> list[Any]:
        """What `scenario(trainer, *arguments)` returned on every rank, in a group of its own.

        `seats`: which process is which rank, otherwise the first ones in their order.
        """
        pipes = [self._pipes[number] for number in seats or range(world)]
        with tempfile.TemporaryDirectory() as meeting:
            for rank, pipe in enumerate(pipes):
                place = Place(rank, world, rank, generation, "gloo")
                pipe.send((place, f"{meeting}/store", scenario, arguments))
            answers = [_receive(pipe) for pipe in pipes]
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return answers

    def stop(self) -> None:
        for pipe in self._pipes:
            with suppress(OSError):
                pipe.send(None)
        for process in self._processes:
            process.join(10)
            process.kill()


def _receive(pipe: Connection) -> Any:
    assert pipe.poll(240), "a rank did not answer within 240 s"
    return pipe.recv()


def _serve(pipe: Connection) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    while (order := pipe.recv()) is not None:
        try:
            pipe.send(_run(*order))
        except Exception as error:
            pipe.send(error)


def _run(place: Place, store: str, scenario: Scenario, arguments: Sequence[Any]) -> Any:
    settings, *rest = arguments
    dist.init_process_group(
        "gloo", store=dist.FileStore(store, place.world), rank=place.rank, world_size=place.world
    )
    trainer = MoeTrainer(settings)
    try:
        trainer.setup(place, NoBeats())
        return scenario(trainer, *rest)
    finally:
        trainer.teardown()
        dist.destroy_process_group()
