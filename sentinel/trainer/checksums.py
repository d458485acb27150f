"""What a device has computed of a batch, in a few bytes: digests of the bits of its loss and gradients."""

import hashlib
import math
import platform
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from sentinel.trainer.replay import Run

COLUMNS = 4096
"""64-bit sums that a gradient is added up in: one pass over it, in any order, and two flipped bits cancel
only if they meet in the same column. The digest is made of them only when a step is compared."""
DIGEST_BYTES = 16
DATA_BYTES = 8
KIND_BYTES = 8
_RUN = struct.Struct(f"<q{DATA_BYTES}s{DIGEST_BYTES}s{KIND_BYTES}s")
_FLIPPED_BIT = 30
"""The highest of a float32's exponent."""


class LocalGradients:
    """Gradients of this rank's own batch as they go into each reduce-scatter, before others' are added."""

    flips = False
    """The simulated device turns a bit of each."""

    def __init__(self) -> None:
        self._sums: list[Any] = []
        self._squares: list[Any] = []

    def begin(self) -> None:
        """Another batch's come."""
        self._sums.clear()
        self._squares.clear()

    def take(self, gradient: Any) -> None:
        """Add up one of them, flat and contiguous; a GPU does it without being waited for."""
        if self.flips:
            gradient[:1].view(torch.int32).bitwise_xor_(1 << _FLIPPED_BIT)
        words = gradient.view(torch.int32)
        whole = words.numel() // (2 * COLUMNS) * 2 * COLUMNS
        self._sums += [words[:whole].view(torch.int64).view(-1, COLUMNS).sum(0), words[whole:].clone()]
        self._squares.append(torch.dot(gradient, gradient))

    def norm(self) -> float:
        """Give the norm of all of them; 0 where nothing is reduced, for this rank is alone."""
        return math.sqrt(sum(float(each) for each in self._squares))

    def digest(self, loss: float) -> bytes:
        """Give `DIGEST_BYTES` for loss and gradients. Of a loss that is not finite the bits mean nothing."""
        if not math.isfinite(loss):
            return bytes(DIGEST_BYTES)
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # they were added up on another stream
        found = hashlib.blake2b(struct.pack("<d", loss), digest_size=DIGEST_BYTES)
        for sums in self._sums:
            found.update(sums.cpu().numpy().tobytes())
        return found.digest()


def kind_of(device: torch.device) -> bytes:
    """Give `KIND_BYTES` for what chooses a device's kernels: two of a kind compute alike to the bit."""
    said: tuple[Any, ...] = torch.__version__, platform.machine(), torch.backends.cpu.get_cpu_capability()
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        said = *said, found.name, found.multi_processor_count, found.total_memory, torch.version.cuda
    return hashlib.blake2b(repr(said).encode(), digest_size=KIND_BYTES).digest()


def digest_of(batch: Iterable[Any]) -> bytes:
    """Give `DATA_BYTES` for the tensors of a batch, on the CPU."""
    found = hashlib.blake2b(digest_size=DATA_BYTES)
    for tensor in batch:
        found.update(tensor.contiguous().numpy().tobytes())
    return found.digest()


def pack(runs: Sequence[Run]) -> torch.Tensor:
    """Runs as bytes, for a collective."""
    return torch.frombuffer(bytearray(b"".join(_RUN.pack(*run) for run in runs)), dtype=torch.uint8)


def unpack(packed: torch.Tensor) -> list[Run]:
    """And back."""
    return [Run(*fields) for fields in _RUN.iter_unpack(packed.cpu().numpy().tobytes())]
