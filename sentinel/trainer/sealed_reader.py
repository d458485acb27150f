"""Reads a checkpoint that was verified: only files that its manifest vouches for, and no program in them."""

import hashlib
import os
import pickle
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.filesystem import FileSystem
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta, TensorStorageMetadata

from sentinel import private
from sentinel.trainer import checkpoint as store
from sentinel.trainer.plain_pickle import load_metadata

METADATA = ".metadata"


class _RegularFiles(FileSystem):  # type: ignore[misc]
    """Files that are no links and let nobody wait."""

    @contextmanager
    def create_stream(self, path: str | os.PathLike[str], mode: str) -> Iterator[IO[bytes]]:
        """Open a file to read it."""
        with os.fdopen(private.open_file(Path(path), os.O_RDONLY, shared=True), mode) as stream:
            yield stream


class SealedReader(dcp.FileSystemReader):  # type: ignore[misc]
    """Every rank looks again at what it unpickles: the files may have been exchanged since rank 0 looked."""

    def __init__(self, checkpoint: store.Checkpoint, key: bytes) -> None:
        super().__init__(checkpoint.path)
        self.fs = _RegularFiles()
        self._checkpoint, self._key = checkpoint, key

    def read_metadata(self, *_: Any, **__: Any) -> Metadata:
        """Unpickle the description of all tensors. Raises DamagedError, UnsealedError or OSError."""
        files = store.sealed_manifest(self._checkpoint, self._key).files
        file = files.get(METADATA)
        content = private.read(Path(self.path) / METADATA, file.bytes, shared=True) if file else b""
        if not file or hashlib.sha256(content).hexdigest() != file.sha256:
            raise store.DamagedError(f"{self.path}: hash of {METADATA} differs")
        try:
            metadata = load_metadata(content)
            _check(metadata, files)
        except (pickle.UnpicklingError, AttributeError, TypeError, ValueError) as error:
            raise store.DamagedError(f"{self.path}: {METADATA}: {error}") from None
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


def _check(metadata: Metadata, files: Container[str]) -> None:
    """Only tensors, which are read as data, and only from files of this checkpoint."""
    for name, described in metadata.state_dict_metadata.items():
        if not isinstance(described, TensorStorageMetadata):
            raise TypeError(f"{name!r:.80} is no tensor")
    for stored in metadata.storage_data.values():
        if stored.relative_path not in files:
            raise ValueError(f"{stored.relative_path!r:.80} is no file of this checkpoint")
