"""A training state as bytes and back, bit for bit: a flat mapping of name → tensor or plain value."""

import struct
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgpack

if TYPE_CHECKING:
    import torch

Part: TypeAlias = bytes | bytearray | memoryview
_LENGTH = struct.Struct("<Q")
_TUPLE = 1
"""The msgpack extension that keeps a tuple apart from a list."""


class SnapshotError(Exception):
    """A snapshot can't be written, sent, found or believed; the message says why, in one line."""


class NoRoomError(SnapshotError):
    """The memory takes no snapshot now. What it holds stands, and training can go on."""


class NotYetError(NoRoomError):
    """It takes one again as soon as a newer copy than the kept one is complete everywhere."""


def encode(state: Mapping[str, Any]) -> list[Part]:
    """Give the state as parts: an index, then the bytes of each tensor.

    Tensors on a GPU are copied to the CPU; parts of CPU tensors alias them, so write or send the parts
    before the next step changes them. Raises SnapshotError that names a value which has no plain form.
    """
    index, tensors = [], []
    for name, value in state.items():
        if hasattr(value, "detach"):
            raw = _bytes_of(value)
            index.append([name, str(value.dtype).removeprefix("torch."), list(value.shape), raw.nbytes])
            tensors.append(raw)
        else:
            index.append([name, _pack(name, value)])
    head = msgpack.packb(index)
    return [_LENGTH.pack(len(head)) + head, *tensors]


def decode(buffer: Part) -> dict[str, Any]:
    """Give back what `encode` took, from its parts joined; tensors are on the CPU and own their memory.

    Raises SnapshotError for anything else.
    """
    try:
        return _decoded(memoryview(buffer))
    except (*_NO_PAYLOAD, msgpack.UnpackException) as error:
        raise SnapshotError(f"not a snapshot's payload: {error!r:.200}") from error


_NO_PAYLOAD = (
    struct.error, ValueError, TypeError, LookupError, AttributeError, RuntimeError, OverflowError, MemoryError
)  # fmt: skip
"""What bytes that are no payload make us run into."""


def _decoded(view: memoryview) -> dict[str, Any]:
    (length,) = _LENGTH.unpack_from(view)
    at = _LENGTH.size + length
    index = msgpack.unpackb(view[_LENGTH.size : at])
    state: dict[str, Any] = {}
    for name, *entry in index:
        if len(entry) == 1:
            state[name] = msgpack.unpackb(entry[0], ext_hook=_from_extension, strict_map_key=False)
        else:
            dtype, shape, size = entry
            state[name] = _tensor(view[at : at + size], dtype, shape)
            at += size
    return state


def _bytes_of(tensor: "torch.Tensor") -> memoryview:
    import torch

    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(flat.view(torch.uint8).numpy())


def _tensor(raw: memoryview, dtype: str, shape: Sequence[int]) -> "torch.Tensor":
    import torch

    kind = getattr(torch, dtype)
    if not isinstance(kind, torch.dtype):
        raise TypeError(f"{dtype!r:.80} is no type of a tensor")
    flat = torch.empty(len(raw), dtype=torch.uint8)
    memoryview(flat.numpy())[:] = raw
    return flat.view(kind).reshape(shape)


def _pack(name: str, value: Any) -> bytes:
    try:
        packed: bytes = msgpack.packb(value, default=_to_extension, strict_types=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise SnapshotError(f"{name!r} is neither a tensor nor a plain value: {error}") from error
    return packed


def _to_extension(value: Any) -> msgpack.ExtType:
    if type(value) is tuple:
        return msgpack.ExtType(_TUPLE, msgpack.packb(list(value), default=_to_extension, strict_types=True))
    raise TypeError(f"{type(value).__name__} has no plain form")


def _from_extension(code: int, data: bytes) -> Any:
    if code == _TUPLE:
        return tuple(msgpack.unpackb(data, ext_hook=_from_extension, strict_map_key=False))
    raise SnapshotError(f"unknown extension {code} in a snapshot")
