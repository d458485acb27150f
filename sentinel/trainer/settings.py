"""What a person may choose about the bundled trainer, read from a JSON or TOML file."""

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

SETTINGS_VARIABLE = "SENTINEL_TRAINER"
"""Environment variable that holds the path of the settings file."""
JOB_DIR_VARIABLE = "SENTINEL_JOB_DIR"
"""And the one that holds the job's directory, in its ranks."""


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """Sizes and rates of one run; the defaults let two cores carry a demo of four ranks."""

    data: str
    """Dataset directory, by default the job's own `data`; created from the seed when it does not exist."""
    seed: int = 0
    vocabulary: int = 256
    sequence: int = 32
    batch: int = 4
    """Sequences per rank and step."""
    dim: int = 64
    layers: int = 2
    heads: int = 4
    experts: int = 8
    top_k: int = 2
    expert_dim: int = 64
    balance: float = 0.01
    """Weight of the load-balance loss; Switch Transformer (Fedus et al. 2021) chose 0.01."""
    jitter: float = 0.01
    """Relative noise on what the router sees; same source."""
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    shard_blocks: bool = False
    """Gather block by block, forward and again backward: less memory, but more all-gathers, which are what
    a tiny model's step is made of (four ranks on two cores: 60 ms instead of 38)."""
    bfloat16: bool = False
    """Compute in bfloat16; parameters and reductions stay float32."""
    world_max: int = 8
    """Shards in the dataset: the largest world size it can feed."""
    records: int = 2048
    """Batches per shard; later steps read them again."""
    steps: int = 0
    """After so many the job is finished; 0 for no end."""
    step_seconds: float = 0.0
    """Simulated device time of each step, slept through before the forward pass."""
    replay_every: int = 2000
    """Steps from one that is computed a second time, on each other's batches, to the next: 0.05% of the time.
    Suspicious ones are in any case; 0 for only those."""
    keep: int = 3
    """Committed checkpoints that are kept."""


def read_settings(path: str | os.PathLike[str] | None = None, **chosen: Any) -> TrainerSettings:
    """Settings from `path`, or from the file in SENTINEL_TRAINER, or a job's defaults; `chosen` values win.

    Raises ValueError in one line for an unknown key, a wrong type or a missing value.
    """
    path = path or os.environ.get(SETTINGS_VARIABLE)
    job_dir = os.environ.get(JOB_DIR_VARIABLE)
    given = {"data": str(Path(job_dir, "data"))} if job_dir else {}
    values = {**given, **(_parse(Path(path)) if path else {}), **chosen}
    _check(values, where=str(path or "trainer settings"))
    return TrainerSettings(**values)


def _parse(path: Path) -> Mapping[str, Any]:
    text = path.read_text(encoding="utf-8")
    try:
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected one object of settings")
    return values


def _check(values: Mapping[str, Any], where: str) -> None:
    kinds = {field.name: field.type for field in fields(TrainerSettings)}
    for name, value in values.items():
        if name not in kinds:
            raise ValueError(f"{where}: unknown trainer setting {name!r}")
        kind = kinds[name]
        fits = type(value) is kind or (kind is float and type(value) is int)
        if not fits:
            raise ValueError(f"{where}: {name} must be {getattr(kind, '__name__', kind)}, not {value!r}")
    if "data" not in values:
        raise ValueError(f"{where}: the dataset directory `data` is missing")
