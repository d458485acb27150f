"""What the controller and its ray link say to each other is typed, and nonsense between them ends neither."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import zmq
import zmq.asyncio
from fake_ray import FakeRay, hands_of
from link_process import listening, serving
from structlog.testing import capture_logs

from sentinel.backends.ray import requests
from sentinel.backends.ray.link import Link, LinkError, _Waiting
from sentinel.backends.ray.link_process import outcome
from sentinel.backends.ray.requests import (
    Answered,
    AnyRequest,
    Asked,
    Joined,
    Nodes,
    Request,
    StartAgent,
    Statuses,
    StopWorker,
)
from sentinel.gang.orders import FormOrder, WorkerSpec, WorkerStatus, pack, unpack
from sentinel.model.ids import JobId, NodeId, WorkerId

DEEP = b"\x91" * 100_000
NONSENSE = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"\xc1\xff", id="no msgpack"),
    pytest.param(DEEP, id="deeply nested"),
    pytest.param(b"\x82\xa6number\x01\xa7request" + DEEP, id="deeply nested within"),
    pytest.param(msgspec.msgpack.encode({"id": 1, "op": "nodes", "args": {}}), id="another release's"),
    pytest.param(b"\x81\xa6number\xa2\xff\xfe", id="no text"),
]


def test_every_request_can_be_asked_and_has_an_answer() -> None:
    assert set(get_args(AnyRequest)) == set(Request.__subclasses__())
    assert {requests._named(kind.__name__) for kind in get_args(AnyRequest)} == set(requests._answers)


def test_the_answer_has_the_type_that_its_request_names() -> None:
    ray = FakeRay()
    ray._start({"name": "train.w1"})
    asked = Statuses(JobId("train"), (WorkerId("w1"),), 5.0)
    answer = requests.encode(outcome(hands_of(ray), asked).result())
    assert requests.read_answer(asked, msgspec.Raw(answer)) == {"w1": WorkerStatus(1, -1, -1)}
    with pytest.raises(msgspec.ValidationError):
        requests.read_answer(Nodes(), msgspec.Raw(answer))


@pytest.mark.parametrize("said", NONSENSE)
def test_a_link_that_is_told_nonsense_says_so_in_one_line_and_goes_on(
    tmp_path: Path, said: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    async def work() -> None:
        async with serving(tmp_path, 0.0) as link:
            assert link._socket is not None
            await link._socket.send(said)
            assert [node.node for node in await link.ask(Nodes(), 10.0)] == ["n1"]

    asyncio.run(work())
    lines = [line for line in capfd.readouterr().out.splitlines() if "unreadable" in line]
    assert len(lines) == 1


def test_a_request_that_the_link_does_not_know_fails_at_once(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, 0.0) as link:
            answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            link._waiting[77] = _Waiting(Nodes(), answer)
            dance = msgspec.Raw(msgspec.msgpack.encode({"type": "dance"}))
            assert link._socket is not None
            await link._socket.send(requests.encode(Asked(77, dance)))
            async with asyncio.timeout(10.0):
                with pytest.raises(LinkError, match="ValidationError: Invalid value 'dance'"):
                    await answer

    asyncio.run(work())


@pytest.mark.parametrize("said", NONSENSE)
def test_a_controller_that_is_told_nonsense_says_so_in_one_line_and_goes_on(
    tmp_path: Path, said: bytes
) -> None:
    async def work() -> None:
        async with listening(tmp_path) as link, child(link) as socket:
            await socket.send(said)
            await socket.send(requests.encode(Joined(1)))
            asked = asyncio.create_task(link.ask(Nodes(), 10.0))
            number = requests.read_asked(await socket.recv()).number
            await socket.send(requests.encode(Answered(number, msgspec.Raw(b"\x90"))))
            assert await asked == ()

    with capture_logs() as logs:
        asyncio.run(work())
    assert [entry["event"] for entry in logs] == ["reply-unreadable"]


def test_an_answer_of_another_kind_fails_its_request_only(tmp_path: Path) -> None:
    async def work() -> None:
        async with listening(tmp_path) as link, child(link) as socket:
            await socket.send(requests.encode(Joined(1)))
            for answer in (b"\xa1x", b"\x91\xa1x", b"\x91\x80"):
                asked = asyncio.create_task(link.ask(Nodes(), 10.0))
                number = requests.read_asked(await socket.recv()).number
                await socket.send(requests.encode(Answered(number, msgspec.Raw(answer))))
                with pytest.raises(LinkError, match=r"nodes: the answer can't be read: (Expected|Object)"):
                    await asked
            assert link._waiting == {}

    asyncio.run(work())


@asynccontextmanager
async def child(link: Link) -> AsyncIterator[zmq.asyncio.Socket]:
    """The other end of its socket."""
    socket = link._context.socket(zmq.PAIR)
    socket.bind(link._endpoint)
    try:
        yield socket
    finally:
        socket.close(0)


SPEC = WorkerSpec("moe", "x:Y", "", "gloo", "/job", 1, 50, 600.0, 10.0, b"\x00secret", "j1")
ORDER = FormOrder(2, 0, 1, 0, ("n1", 1), (("n1", 2),), ("n2", 3), (7,), (0,), (1,))


@pytest.mark.parametrize("noun", [SPEC, ORDER])
def test_what_crosses_to_a_worker_arrives_as_it_was(noun: Any) -> None:
    assert unpack(type(noun), pack(noun)) == noun


def test_a_worker_of_another_release_reads_what_it_knows() -> None:
    plain = msgspec.msgpack.decode(pack(SPEC))
    del plain["journal"]
    read = unpack(WorkerSpec, msgspec.msgpack.encode({**plain, "colour": "blue"}))
    assert read == msgspec.structs.replace(SPEC, journal="")


def test_a_name_that_no_message_can_carry_is_refused(tmp_path: Path) -> None:
    async def work() -> None:
        async with serving(tmp_path, 0.0) as link:
            with pytest.raises(LinkError, match="start_agent: 'utf-8' codec"):
                await link.ask(StartAgent(NodeId("n1"), ("/\udcff",), {}), 10.0)
            await link.ask(StopWorker(JobId("train"), WorkerId("w1")), 10.0)

    asyncio.run(work())
