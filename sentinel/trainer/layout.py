"""How a dataset lies in its files, for whoever reads or damages them: quick to load, without torch."""

import os
from dataclasses import dataclass
from pathlib import Path

from sentinel.trainer.settings import TrainerSettings


@dataclass(frozen=True, slots=True)
class Layout:
    """How a dataset's shard files are cut; a record is int32 tokens and then float32 weights."""

    seed: int
    vocabulary: int
    batch: int
    sequence: int
    records: int
    shards: int

    @property
    def token_bytes(self) -> int:
        """Bytes of one record's tokens: one more per sequence than it has targets."""
        return 4 * self.batch * (self.sequence + 1)

    @property
    def record_bytes(self) -> int:
        """Bytes of one record."""
        return self.token_bytes + 4 * self.batch * self.sequence

    def offset(self, step: int) -> int:
        """Where the record of `step` begins in every shard."""
        return step % self.records * self.record_bytes

    def weight_offset(self, step: int) -> int:
        """Where the first loss weight of `step` lies: four bytes, little-endian float32."""
        return self.offset(step) + self.token_bytes


def layout_of(settings: TrainerSettings) -> Layout:
    """The dataset that these settings ask for."""
    return Layout(
        seed=settings.seed,
        vocabulary=settings.vocabulary,
        batch=settings.batch,
        sequence=settings.sequence,
        records=settings.records,
        shards=settings.world_max,
    )


def shard_path(directory: str | os.PathLike[str], rank: int) -> Path:
    """The file that feeds data rank `rank`."""
    return Path(directory) / f"shard-{rank:03d}.bin"
