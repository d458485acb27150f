"""What the ranks of a group tell each other beside training: plain bytes under a seal, never objects.

`torch.distributed` carries objects as pickles: whoever gets between two ranks could have any program run.
"""

import hmac
from collections.abc import Callable

import torch
import torch.distributed as dist

from sentinel.gang.snapshot_keys import DIGEST, KEY_BYTES

MOST_BYTES = 1 << 30


def broadcast(key: bytes, said: Callable[[], bytes], rank: int) -> bytes:
    """Give on all ranks what rank 0 says. Raises DistError where it did not say what came."""
    message = _sealed(key, said()) if rank == 0 else b""
    length = torch.tensor([len(message)], dtype=torch.int64, device=_device())
    dist.broadcast(length, src=0)
    if not KEY_BYTES <= (size := int(length)) <= MOST_BYTES:
        raise dist.DistError(f"rank 0 is said to have told {size} bytes")
    buffer = torch.frombuffer(bytearray(message or bytes(size)), dtype=torch.uint8).to(_device())
    dist.broadcast(buffer, src=0)
    return _opened(key, buffer.cpu().numpy().tobytes())


def all_of(yes: bool) -> bool:
    """Whether it is so on every rank."""
    votes = torch.tensor([int(yes)], dtype=torch.int64, device=_device())
    dist.all_reduce(votes, op=dist.ReduceOp.MIN)
    return int(votes) == 1


def _device() -> torch.device:
    return torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")


def _sealed(key: bytes, said: bytes) -> bytes:
    return hmac.digest(key, said, DIGEST) + said


def _opened(key: bytes, message: bytes) -> bytes:
    seal, said = message[:KEY_BYTES], message[KEY_BYTES:]
    if not hmac.compare_digest(seal, hmac.digest(key, said, DIGEST)):
        raise dist.DistError("what came as rank 0's is not what it said")
    return said
