"""The chain of checksums in a journal: what was changed, lost or put elsewhere does not fit what came before.

It guards against damage by disks and hands, not against an attacker, who could compute it anew.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

DIGEST_BYTES = 8
"""A damaged line fits by chance once in 2^64; a checksum of 32 bits would let one in four billion pass."""


def root(identity: str) -> bytes:
    """Give what the first line of a journal continues."""
    return blake2b(identity.encode(), digest_size=DIGEST_BYTES).digest()


def of_line(before: bytes, seq: int, at: float, by: bytes, body: bytes) -> bytes:
    """Give the checksum of a line that follows the one with checksum `before`; `by` names what decided it."""
    return blake2b(b"%b%d %a %b %b" % (before, seq, at, by, body), digest_size=DIGEST_BYTES).digest()


def of_snapshot(head: bytes, seq: int, at: float, body: bytes) -> bytes:
    """Give the checksum of a snapshot of the state after line `seq`, whose own is `head`."""
    return blake2b(b"%b%d %a %b" % (head, seq, at, body), digest_size=DIGEST_BYTES).digest()


def of_list(rows: Sequence[Any]) -> bytes:
    """Give the checksum of a short list that is always read as a whole."""
    return blake2b(repr(rows).encode(), digest_size=DIGEST_BYTES).digest()
