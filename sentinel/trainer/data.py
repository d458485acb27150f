"""Training batches from files: one shard per data rank, one record per step, read when it is needed.

Tensor names end in their shape: R records, B sequences of a batch, T tokens of a sequence.
"""

# ruff: noqa: N806, N815 (the capitals of a name are its shape)

import json
import os
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import msgspec
import torch
from torch import Tensor

from sentinel import private
from sentinel.trainer.layout import Layout, shard_path

LAYOUT_FILE = "dataset.json"
_MOST_LAYOUT = 64 * 1024


class Batch(NamedTuple):
    """One rank's share of one training step."""

    token_BT: Tensor
    target_BT: Tensor
    weight_BT: Tensor
    """How much each target counts in the loss."""


def ensure_dataset(directory: str | os.PathLike[str], layout: Layout) -> None:
    """Create the dataset unless it is there; several processes may try at once, one wins.

    Raises ValueError when the directory holds a dataset of another layout.
    """
    target = Path(directory)
    if not (target / LAYOUT_FILE).exists():
        _create(target, layout)
    try:
        found = msgspec.json.decode(private.read(target / LAYOUT_FILE, _MOST_LAYOUT, shared=True))
    except msgspec.MsgspecError as error:
        raise ValueError(f"{target / LAYOUT_FILE}: {error}") from None
    if found != asdict(layout):
        raise ValueError(f"{target}: holds a dataset of another layout: {found}")


def _create(target: Path, layout: Layout) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        draft.chmod(0o755)
        for rank in range(layout.shards):
            shard_path(draft, rank).write_bytes(_shard(layout, rank))
        (draft / LAYOUT_FILE).write_text(json.dumps(asdict(layout)), encoding="utf-8")
        draft.rename(target)
    except OSError:
        if not (target / LAYOUT_FILE).exists():  # else another process was first
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _shard(layout: Layout, rank: int) -> bytes:
    """A noisy arithmetic sequence per row, so that there is something to learn."""
    generator = torch.Generator().manual_seed(layout.seed * 1000 + rank)
    shape = (layout.records, layout.batch, layout.sequence + 1)
    token_RBT = torch.randint(layout.vocabulary, shape, generator=generator, dtype=torch.int32)
    noisy_RBT = torch.rand(shape, generator=generator) < 0.1
    for t in range(1, layout.sequence + 1):
        expected_RB = (5 * token_RBT[..., t - 1] + 17) % layout.vocabulary
        token_RBT[..., t] = torch.where(noisy_RBT[..., t], token_RBT[..., t], expected_RB)
    weight_RBT = torch.ones(layout.records, layout.batch, layout.sequence)
    record_RX = torch.cat((token_RBT.flatten(1), weight_RBT.flatten(1).view(torch.int32)), dim=1)
    return bytes(record_RX.numpy().tobytes())


def read_batch(directory: str | os.PathLike[str], layout: Layout, step: int, rank: int) -> Batch:
    """The batch of (step, rank), opened and read anew: a shard that blocks or lies is felt at this step."""
    with shard_path(directory, rank).open("rb", buffering=0) as shard:
        shard.seek(layout.offset(step))
        record = shard.read(layout.record_bytes)
    if record is None or len(record) != layout.record_bytes:
        raise OSError(f"{shard_path(directory, rank)}: record of step {step} is cut short")
    return parse_batch(record, layout)


def parse_batch(record: bytes, layout: Layout) -> Batch:
    """A record's bytes as tensors."""
    words = torch.frombuffer(bytearray(record), dtype=torch.int32)
    tokens = layout.token_bytes // 4
    token_BT = words[:tokens].view(layout.batch, layout.sequence + 1).long()
    weight_BT = words[tokens:].view(torch.float32).view(layout.batch, layout.sequence)
    return Batch(token_BT[:, :-1], token_BT[:, 1:], weight_BT)
