"""What the controller asks of the ray link, what answers it, and how both travel."""

import re
from collections.abc import Mapping
from typing import Any, Generic, TypeAlias, TypeVar, get_args

import msgspec

from sentinel.backends.port import Attempt, Member, Pause
from sentinel.gang.orders import WorkerSpec, WorkerStatus
from sentinel.model.ids import Instant, JobId, NodeId, Seconds, WorkerId

A = TypeVar("A")


def _named(request: str) -> str:
    """`StartWorker` is `start_worker` for people."""
    return re.sub(r"\B(?=[A-Z])", "_", request).lower()


class Request(msgspec.Struct, Generic[A], frozen=True, tag=_named):
    """One thing to do; `A` is what answers it."""


class RayNode(msgspec.Struct, frozen=True):
    """A node that Ray knows."""

    node: NodeId
    """Its name, which is Sentinel's too."""
    id: str
    """Ray's own."""
    alive: bool
    address: str
    port: int
    """Where its raylet listens."""
    trains: bool
    drained_by: Instant | None = None
    """Ray is told to empty it, and to end it by then; 0 for no deadline, None for a node in use."""


class Nodes(Request[tuple[RayNode, ...]], frozen=True):
    """List all nodes."""


class StartWorker(Request[WorkerStatus], frozen=True):
    """Start a worker on a node; answered once it is warm."""

    spec: WorkerSpec
    worker: WorkerId
    node: NodeId
    gpu: int
    memory: str
    within_s: Seconds
    """One that is not warm by then is killed, for nobody waits for it."""


class StopWorker(Request[None], frozen=True):
    """Kill a worker, warm or not."""

    job: JobId
    worker: WorkerId


class EndWorkers(Request[None], frozen=True):
    """Kill the workers that another journal, now lost, has left behind; answered when Ray has none."""

    job: JobId
    journal: str


class Statuses(Request[dict[WorkerId, WorkerStatus]], frozen=True):
    """Ask workers how far they are; those that do not answer in time are left out."""

    job: JobId
    workers: tuple[WorkerId, ...]
    timeout_s: Seconds


class Form(Request[Attempt], frozen=True):
    """Form a generation of these members, rank 0 first."""

    job: JobId
    members: tuple[Member, ...]
    pause: Pause | None = None


class StartAgent(Request[int], frozen=True):
    """Launch a node's agent, detached from the raylet; its pid answers."""

    node: NodeId
    argv: tuple[str, ...]
    env: dict[str, str]
    up_within_s: Seconds = 0.0
    """How long its process is waited for until it is up, as long as it lives."""


class Ping(Request[None], frozen=True):
    """Answer, as anybody does who is able to."""


AnyRequest: TypeAlias = Ping | Nodes | StartWorker | StopWorker | EndWorkers | Statuses | Form | StartAgent


class Asked(msgspec.Struct, frozen=True):
    """A request on its way."""

    number: int
    request: msgspec.Raw


class Joined(msgspec.Struct, frozen=True, tag=True):
    """The ray link has joined Ray."""

    pid: int


class NotJoined(msgspec.Struct, frozen=True, tag=True):
    """It can't, and ends."""

    detail: str


class Answered(msgspec.Struct, frozen=True, tag=True):
    """A request was done."""

    number: int
    answer: msgspec.Raw


class Failed(msgspec.Struct, frozen=True, tag=True):
    """A request was not done; the detail is one line."""

    number: int
    detail: str


Reply: TypeAlias = Joined | NotJoined | Answered | Failed

UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading raises where the bytes are no such message."""

encode = msgspec.msgpack.Encoder().encode
read_asked = msgspec.msgpack.Decoder(Asked).decode
read_request = msgspec.msgpack.Decoder[AnyRequest](AnyRequest).decode
read_reply = msgspec.msgpack.Decoder[Reply](Reply).decode
_answers: Mapping[str, msgspec.msgpack.Decoder[Any]] = {
    _named(request.__name__): msgspec.msgpack.Decoder(get_args(request.__orig_bases__[0])[0])
    for request in get_args(AnyRequest)
}


def name_of(request: Request[Any]) -> str:
    """Give a request's name for people."""
    return _named(type(request).__name__)


def read_answer(request: Request[A], answer: msgspec.Raw) -> A:
    """Read what answers this request. Raises as all reading does."""
    read: A = _answers[name_of(request)].decode(answer)
    return read
