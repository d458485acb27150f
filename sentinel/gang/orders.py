"""What the controller's hands tell a worker: its place in a generation, and what it answers.

A worker lives longer than a controller, so all of this reaches it as bytes that name their fields: what one
release has and the other has not is passed over or takes its default.
"""

from typing import TypeVar

import msgspec

Holder = tuple[str, int]
"""Address and port of a node's snapshot holder."""
Noun = TypeVar("Noun", bound=msgspec.Struct)


class WorkerSpec(msgspec.Struct, frozen=True):
    """What a worker needs to know for its whole life; same for all workers of a job."""

    job: str
    trainable: str
    """`module:name` of a class that implements `Trainable`."""
    trainer_config: str
    """Path of the trainer's own settings; empty for none."""
    backend: str
    """`gloo`, `nccl`, or `auto`: nccl where CUDA is."""
    job_dir: str
    """Shared directory for the loss log and the checkpoints."""
    snapshot_every: int
    checkpoint_every: int
    collective_timeout_s: float
    lease_s: float
    """A rank that hears nothing of the controller for this long and makes no progress stops itself."""
    secret: bytes
    """The job's key: for snapshot connections, the rendezvous, and what is left on the shared volume."""
    journal: str = ""
    """Whose generations these are: the id of the controller's journal."""


class FormOrder(msgspec.Struct, frozen=True):
    """One worker's place in one generation of the gang."""

    generation: int
    rank: int
    world: int
    gpu: int
    store: tuple[str, int]
    """Address and port of the generation's rendezvous store, served by rank 0's process; 0 until it is."""
    holders: tuple[Holder, ...]
    """Every node's snapshot holder, this node's first."""
    peer: Holder | None
    """Where this rank's snapshots are copied to; None on a single node."""
    skip: tuple[int, ...] = ()
    hosted: tuple[int, ...] = ()
    """All ranks of this node."""
    held: tuple[int, ...] = ()
    """Ranks of other nodes whose snapshots are copied to this one."""
    within_s: float = 600.0
    """Set-up and load may take this long once all members have met; to meet has its own, short limit."""
    takes_over: str = ""
    """The journal whose workers have been ended, so that this one may go on in its directory."""
    word: bytes = b""
    """The controller's, that it has ordered this generation; holders take no snapshot without it."""


class Formed(msgspec.Struct, frozen=True, tag=True):
    """A worker joined its generation and has its state."""

    generation: int
    step: int
    """The step that the state was taken after, -1 for a fresh start."""
    source: str
    """`memory | checkpoint | start`"""
    lost: int
    """Completed steps that this process must do again; the most over all ranks is what the job lost."""
    damaged: tuple[str, ...] = ()
    """One line per damaged copy that was passed over."""


class Overtaken(msgspec.Struct, frozen=True, tag=True):
    """A worker did not join: the job's directory is somebody else's."""

    generation: int
    newest: int
    """The newest generation that has formed there."""
    journal: str
    """And whose it is."""


class WorkerStatus(msgspec.Struct, frozen=True):
    """How far a worker is."""

    pid: int
    step: int
    """Last completed step, -1 before the first."""
    generation: int
    """-1 while it is in none."""


def pack(noun: msgspec.Struct) -> bytes:
    """Give what crosses to a worker or back."""
    return msgspec.msgpack.encode(noun)


def unpack(kind: type[Noun], packed: bytes) -> Noun:
    """Read what crossed. Raises DecodeError when it is no such noun."""
    return msgspec.msgpack.decode(packed, type=kind)


def unpack_formed(packed: bytes) -> Formed | Overtaken:
    """Read a worker's answer to its order. Raises DecodeError when it is none."""
    return msgspec.msgpack.decode(packed, type=Formed | Overtaken)
