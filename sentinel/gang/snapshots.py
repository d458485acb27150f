"""Memory snapshots of a job: which step every rank can go back to, and the bytes to do it.

A step is common when every rank of the world has a copy of it somewhere that can be reached; each is verified
when it is fetched, for to read all that there are takes minutes where a state has many gigabytes. Copies of
one step from different generations count as equal: a generation starts from a common snapshot and repeats the
same batches in the same world, so it comes to the same state. Copies of another world size never count.
"""

import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import structlog

from sentinel.gang.snapshot_codec import NoRoomError, NotYetError, SnapshotError, decode, encode
from sentinel.gang.snapshot_holder import SnapshotHolder
from sentinel.gang.snapshot_keys import job_key, word_for
from sentinel.gang.snapshot_messages import Fetch, List, Listing, Sending
from sentinel.gang.snapshot_peer import PeerSender
from sentinel.gang.snapshot_slots import Kind, Slots, forget, slots_in, snapshots_of
from sentinel.gang.snapshot_wire import Address, ask, connect, in_words, name_of
from sentinel.model.ids import Seconds

__all__ = [
    "Copies",
    "Copy",
    "NoRoomError",
    "NotYetError",
    "PeerSender",
    "Slots",
    "SnapshotError",
    "SnapshotHolder",
    "decode",
    "encode",
    "find",
    "forget",
    "job_key",
    "snapshots_of",
    "word_for",
]

_log = structlog.get_logger(logger_name=__name__)
_REACH_S = 0.5
"""A holder that does not connect and greet within this is skipped."""
_ANSWER_S = 10.0
"""A holder that greeted is alive, and may be this slow while its node is busy."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of one rank's state, by its header."""

    rank: int
    step: int
    generation: int
    kind: Kind
    holder: Address | None
    """None: in this node's own memory."""


@dataclass(frozen=True, slots=True)
class Copies:
    """Everything that was found of a job, and how to get it."""

    job: str
    world: int
    memory: Path
    key: bytes
    by_rank: Mapping[int, Mapping[int, Sequence[Copy]]]
    """Rank → step → copies, the one to try first in front."""
    unreachable: Sequence[str]
    """One line for each holder that was skipped."""

    @classmethod
    def of(
        cls,
        job: str,
        world: int,
        memory: Path,
        key: bytes,
        copies: Sequence[Copy],
        unreachable: Sequence[str] = (),
    ) -> "Copies":
        """Put local copies first, then a rank's own before its peer's, newer generations before older."""
        ordered = sorted(
            copies, key=lambda copy: (copy.holder is not None, copy.kind != "owner", -copy.generation)
        )
        by_rank: dict[int, dict[int, list[Copy]]] = {}
        for copy in ordered:
            by_rank.setdefault(copy.rank, {}).setdefault(copy.step, []).append(copy)
        return cls(job, world, memory, key, by_rank, tuple(unreachable))

    def all(self) -> list[Copy]:
        """Give every copy."""
        return [copy for steps in self.by_rank.values() for copies in steps.values() for copy in copies]

    def newest_common(self, below: int | None = None) -> int:
        """Give the newest step (under `below`) of which every rank has a copy, or -1."""
        steps = [set(self.by_rank.get(rank, {})) for rank in range(self.world)]
        common = set.intersection(*steps) if steps else set()
        return max((step for step in common if below is None or step < below), default=-1)

    def generation(self, step: int) -> int:
        """Give the newest generation that has come to this step, or -1."""
        found = (copy for steps in self.by_rank.values() for copy in steps.get(step, ()))
        return max((copy.generation for copy in found), default=-1)

    def fetch(self, rank: int, step: int) -> bytearray:
        """Give the payload of the first copy that verifies. Raises SnapshotError with each copy's reason."""
        reasons = []
        for copy in self.by_rank.get(rank, {}).get(step, ()):
            try:
                return self._get(copy)
            except SnapshotError as error:
                reasons.append(str(error))
        raise SnapshotError(
            f"no copy of step {step} of rank {rank}: {'; '.join(reasons) or 'none was found'}"
        )

    def _get(self, copy: Copy) -> bytearray:
        if copy.holder is None:
            return Slots(snapshots_of(self.memory, self.job), copy.kind, copy.rank).read(copy.step)
        return _fetch(copy.holder, self.key, self.job, copy)


def find(
    job: str, world: int, holders: Sequence[Address], memory: Path, key: bytes, *, reach_s: Seconds = _REACH_S
) -> Copies:
    """Ask all holders at once, and this node's own memory, which copies of the job's ranks exist.

    `key` is the job's.
    """
    unreachable: list[str] = []

    def list_one(holder: Address) -> list[Copy]:
        try:
            return _list(holder, key, job, world, reach_s)
        except SnapshotError as error:
            unreachable.append(str(error))
            return []

    with ThreadPoolExecutor(max_workers=max(1, min(64, len(holders)))) as pool:
        lists = list(pool.map(list_one, holders))
    if unreachable:
        _log.warning("snapshot-holders-skipped", job=job, holders=len(holders), skipped=unreachable)
    copies = [copy for found in [_own(memory, job, world), *lists] for copy in found]
    return Copies.of(job, world, memory, key, copies, unreachable)


def _own(memory: Path, job: str, world: int) -> list[Copy]:
    return [
        Copy(info.rank, info.step, info.generation, slots.kind, None)
        for slots in slots_in(snapshots_of(memory, job))
        for info in slots.inventory()
        if info.world == world
    ]


def _list(holder: Address, key: bytes, job: str, world: int, reach_s: Seconds) -> list[Copy]:
    channel = connect(holder, job, key, within_s=reach_s, idle_s=_ANSWER_S)
    try:
        slots = ask(channel, List(), Listing).slots
    except (OSError, EOFError, ValueError) as error:
        raise SnapshotError(f"{name_of(holder)}: {in_words(error)}") from error
    finally:
        channel.close()
    return [
        Copy(slot.rank, slot.step, slot.generation, slot.kind, holder)
        for slot in slots
        if slot.world == world
    ]


def _fetch(holder: Address, key: bytes, job: str, copy: Copy) -> bytearray:
    channel = connect(holder, job, key, within_s=_REACH_S, idle_s=_ANSWER_S)
    payload = bytearray()
    try:
        fetch = Fetch(copy.kind, copy.rank, copy.step, copy.generation)
        sending = ask(channel, fetch, Sending)
        for piece in channel.payload(sending.length):
            payload += piece
    except (OSError, EOFError, ValueError) as error:
        raise SnapshotError(f"{name_of(holder)}: {in_words(error)}") from error
    finally:
        channel.close()
    if zlib.crc32(payload) != sending.crc:
        raise SnapshotError(f"{name_of(holder)}: step {copy.step} of rank {copy.rank} is damaged")
    return payload
