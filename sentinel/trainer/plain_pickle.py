"""Unpickles what torch.distributed.checkpoint writes and its ranks tell each other, and nothing else.

A pickle is a program. Here it may name the classes in which a checkpoint is described, and no function but
those that look a name up.
"""

import builtins
import enum
import io
import pickle
from typing import Any

import torch
import torch.distributed as dist

_METADATA = frozenset(
    [
        ("pathlib", "PosixPath"),
        ("torch", "Size"),
        ("torch.serialization", "_get_layout"),
        ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
        *(
            ("torch.distributed.checkpoint.metadata", name)
            for name in (
                "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta", "TensorProperties",
                "TensorStorageMetadata", "_MEM_FORMAT_ENCODING",
            )
        ),
    ]
)  # fmt: skip
_MESSAGES = frozenset(
    [
        ("torch.distributed.checkpoint.api", "CheckpointException"),
        ("torch.distributed.checkpoint.filesystem", "_StoragePrefix"),
        ("torch.distributed.checkpoint.storage", "WriteResult"),
        ("traceback", "FrameSummary"),
        ("traceback", "StackSummary"),
        *(
            ("torch.distributed.checkpoint.planner", name)
            for name in (
                "LoadItemType", "LoadPlan", "ReadItem", "SavePlan", "TensorWriteData", "WriteItem",
                "WriteItemType",
            )
        ),
    ]
)  # fmt: skip
"""What ranks tell each other besides."""


class MetadataUnpickler(pickle.Unpickler):
    """Reads a checkpoint's `.metadata`. Raises UnpicklingError for what does not belong there."""

    names = _METADATA

    def find_class(self, module: str, name: str) -> Any:
        """Give what a pickle names, if it may."""
        if module == "torch" and isinstance(kind := getattr(torch, name, None), torch.dtype):
            return kind
        if (module, name) in self.names:
            return super().find_class(module, name)
        if (module, name) == ("builtins", "getattr"):
            return _member  # so early releases of Python 3.11 write an enum's member
        raise pickle.UnpicklingError(f"{module}.{name} belongs in no checkpoint")


def _member(kind: Any, name: str) -> enum.Enum:
    """Give an enum's member, and no other attribute of anything."""
    if isinstance(kind, enum.EnumType) and name in kind.__members__:
        return kind[name]
    raise pickle.UnpicklingError(f"{name} of {kind!r} belongs in no checkpoint")


class MessageUnpickler(MetadataUnpickler):
    """Reads what another rank tells, its errors, too: of a class that is not Python's own, the name."""

    names = _METADATA | _MESSAGES

    def find_class(self, module: str, name: str) -> Any:
        """Give what a pickle names, if it may; else a class that does nothing."""
        kind = getattr(builtins, name, None) if module == "builtins" else None
        if isinstance(kind, type) and issubclass(kind, BaseException):
            return kind
        try:
            return super().find_class(module, name)
        except pickle.UnpicklingError:
            return type(name.rpartition(".")[2], (Exception,), {"__module__": module})


def load_metadata(content: bytes) -> Any:
    """Unpickle `.metadata`. Raises UnpicklingError, or whatever bytes that are no pickle run into."""
    return MetadataUnpickler(io.BytesIO(content)).load()


def refuse_programs() -> None:
    """Have this process unpickle nothing of other ranks that could run: torch tells objects as pickles."""
    dist.distributed_c10d._unpickler = MessageUnpickler
