"""Beating in any trainer: what is not given comes from the environment."""

import atexit
import os
from pathlib import Path

from sentinel.heartbeat.layout import SUFFIX, HeartbeatError
from sentinel.heartbeat.process import state_and_start
from sentinel.heartbeat.writer import HeartbeatWriter


def start(
    memory: os.PathLike[str] | str | None = None,
    *,
    job: str | None = None,
    rank: int | None = None,
    gpu: int | None = None,
    generation: int | None = None,
    world: int | None = None,
) -> HeartbeatWriter:
    """Begin to beat as a rank of a job; what is not given comes from the environment.

    `memory` is the node's memory directory (SENTINEL_MEMORY), then SENTINEL_JOB and, as torchrun sets
    them, RANK, WORLD_SIZE (the ranks of the job; 0 if unset, and then it is not watched as a whole),
    LOCAL_RANK (the GPU, 0 if unset) and TORCHELASTIC_RESTART_COUNT (the generation, 0 if unset). A process is
    a worker of its own, told from an earlier one of the same rank by when it started. The record is removed
    when the process ends by itself. Raises HeartbeatError that names what is missing.
    """
    directory = Path(memory or _environment("SENTINEL_MEMORY"))
    job = job or _environment("SENTINEL_JOB")
    rank = _number("RANK") if rank is None else rank
    worker = f"{job}-rank{rank}-{state_and_start(os.getpid())[1]}"
    gpu = _number("LOCAL_RANK", "0") if gpu is None else gpu
    writer = HeartbeatWriter(directory / "beats" / f"{worker}{SUFFIX}", job=job, worker=worker, gpu=gpu)
    born = _number("TORCHELASTIC_RESTART_COUNT", "0") if generation is None else generation
    writer.place(rank, born, gpu)
    writer.watched(_number("WORLD_SIZE", "0") if world is None else world)
    atexit.register(writer.close)
    return writer


def _environment(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise HeartbeatError(f"{name} is not set: no heartbeat without it")
    return value


def _number(name: str, default: str | None = None) -> int:
    text = os.environ.get(name) or default or _environment(name)
    try:
        return int(text)
    except ValueError:
        raise HeartbeatError(f"{name} is {text!r}, not a number") from None
