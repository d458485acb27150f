"""A node's name is its key's: nobody speaks or is heard by a name that its key does not have."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import zmq

from sentinel.adapters.enrolment import Enrolment, EnrolmentError
from sentinel.adapters.keys import Keys, ensure_keys, new_secret, write_key
from sentinel.adapters.transport import Reports
from sentinel.adapters.uplink import Link, Uplink
from sentinel.model.ids import NodeId
from sentinel.model.report import Ack, Hello, Join, Leave, Order, Report
from tests.enrolled import keys_with

N1, N2 = NodeId("n1"), NodeId("n2")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10.0):
        while not condition():
            await asyncio.sleep(0.01)


def hello(node: NodeId, boot: str = "boot") -> Hello:
    return Hello(node, boot, "127.0.0.1", 1, 8)


async def received(uplink: Uplink) -> list[Order]:
    orders: list[Order] = []
    await until(lambda: orders.extend(uplink.orders()) or orders)
    return orders


class Head:
    """A controller's end, which keeps what it hears."""

    def __init__(self, reports: Reports) -> None:
        self.reports = reports
        self.heard: list[tuple[NodeId, Hello | Report]] = []
        self._open: list[Uplink] = []

    async def listen(self) -> None:
        while True:
            node, message = await self.reports.recv()
            self.heard.append((node, message))
            await self.reports.send(node, Ack(0))

    async def connect(self, keys: Keys, node: NodeId) -> Uplink:
        uplink = self.uplink(keys, node)
        await until(lambda: Link.UP in uplink.changes())
        return uplink

    async def agent(self, keys: Keys, node: NodeId, boot: str = "boot") -> Uplink:
        """An agent that was heard."""
        uplink = await self.connect(keys, node)
        uplink.send(hello(node, boot))
        assert await received(uplink) == [Ack(0)]
        return uplink

    def uplink(self, keys: Keys, node: NodeId) -> Uplink:
        self._open.append(Uplink(self.reports.endpoint, keys, node))
        return self._open[-1]

    def close(self) -> None:
        for uplink in self._open:
            uplink.close()


@asynccontextmanager
async def head(keys: Keys) -> AsyncIterator[Head]:
    async with Reports("tcp://127.0.0.1:0", keys) as reports:
        there = Head(reports)
        listening = asyncio.create_task(there.listen())
        try:
            yield there
        finally:
            listening.cancel()
            there.close()


def run(scenario: Callable[[], Coroutine[object, object, None]]) -> None:
    asyncio.run(scenario())


def thief(keys: Keys, owner: NodeId, name: NodeId, folder: Path) -> Keys:
    """Somebody who has one node's key and calls itself otherwise."""
    stolen = Keys(folder)
    write_key(stolen.node_key(name), keys.of_node(owner).secret)
    write_key(folder / "controller.pub", keys.controller_public)
    return stolen


@pytest.mark.parametrize(
    "what", [hello(N1, "forged"), Report(N1, "boot", 1, (), ())], ids=["hello", "report"]
)
def test_a_name_that_is_not_the_key_s_is_refused_and_told(tmp_path: Path, what: Hello | Report) -> None:
    keys = keys_with(tmp_path / "keys", N1, N2)

    async def scenario() -> None:
        async with head(keys) as there:
            right = await there.agent(keys, N1)
            forged = await there.connect(thief(keys, N2, N1, tmp_path / "stolen"), N1)
            forged.send(what)
            await until(lambda: list(forged.orders()) or Link.REFUSED in forged.changes())
            assert forged.refusal.endswith("refused this agent: its key is n2's, not n1's")
            assert not forged.accepted
            assert there.heard == [(N1, hello(N1))]
            assert await there.reports.send(N1, Leave("for n1"))
            assert await received(right) == [Leave("for n1")]

    run(scenario)


def test_a_connection_that_calls_itself_by_another_node_s_name_takes_no_route(tmp_path: Path) -> None:
    keys = keys_with(tmp_path, N1, N2)

    async def scenario() -> None:
        async with head(keys) as there:
            right = await there.agent(keys, N1)
            context = zmq.Context()
            taker = context.socket(zmq.DEALER)
            taker.curve_secretkey, taker.curve_publickey = keys.of_node(N2).secret, keys.of_node(N2).public
            taker.curve_serverkey, taker.identity, taker.linger = keys.controller_public, N1.encode(), 0
            taker.connect(there.reports.endpoint)
            from sentinel.model.codec import encode

            taker.send(encode(hello(N2)))
            await until(lambda: (N2, hello(N2)) in there.heard)
            assert await there.reports.send(N1, Leave("for n1"))
            assert await received(right) == [Leave("for n1")]
            context.destroy(linger=0)

    run(scenario)


def test_the_newest_connection_with_the_right_key_has_the_route(tmp_path: Path) -> None:
    keys = keys_with(tmp_path, N1)

    async def scenario() -> None:
        async with head(keys) as there:
            first = await there.agent(keys, N1, "first")
            second = await there.agent(keys, N1, "second")
            first.send(Report(N1, "first", 2, (), ()))
            second.send(Report(N1, "second", 2, (), ()))
            assert await received(second) == [Ack(0)]
            assert (N1, Report(N1, "first", 2, (), ())) not in there.heard
            assert list(first.orders()) == []

    run(scenario)


@pytest.mark.parametrize("shared", [False, True], ids=["unknown", "the one that all agents shared"])
def test_a_key_that_is_no_node_s_is_refused(tmp_path: Path, shared: bool) -> None:
    keys = keys_with(tmp_path / "keys", N1)
    stranger = Keys(tmp_path / "stranger")
    secret = new_secret()
    if shared:
        write_key(keys.directory / "agent.key", secret)
        write_key(keys.directory / "agent.pub", zmq.curve_public(secret))
    write_key(stranger.node_key(N1), secret)
    write_key(stranger.directory / "controller.pub", keys.controller_public)

    async def scenario() -> None:
        async with head(keys) as there:
            uplink = there.uplink(stranger, N1)
            await until(lambda: Link.REFUSED in uplink.changes())
            assert "refused this agent's key" in uplink.refusal
            assert not uplink.connected

    run(scenario)


def test_a_revoked_key_is_neither_heard_nor_told_anything_more(tmp_path: Path) -> None:
    keys = keys_with(tmp_path, N1)

    async def scenario() -> None:
        async with head(keys) as there:
            agent = await there.agent(keys, N1)
            Enrolment(keys).revoke(N1)  # by another process
            await until(lambda: not there.reports.enrolment.nodes[N1])
            agent.send(Report(N1, "boot", 2, (), ()))
            await until(lambda: list(agent.orders()) or Link.REFUSED in agent.changes())
            assert "its key was revoked" in agent.refusal
            assert there.heard == [(N1, hello(N1))]
            assert not await there.reports.send(N1, Leave("no more"))
            again = there.uplink(keys, N1)
            await until(lambda: Link.REFUSED in again.changes())

    run(scenario)


def test_a_key_is_changed_under_a_running_agent_and_the_old_one_ends_when_the_new_is_used(
    tmp_path: Path,
) -> None:
    keys = keys_with(tmp_path / "keys", N1)
    old = thief(keys, N1, N1, tmp_path / "old")

    async def scenario() -> None:
        async with head(keys) as there:
            agent = await there.agent(keys, N1)
            there.reports.enrolment.rotate(N1)
            stale = await there.agent(old, N1, "not yet used")

            def follows() -> bool:
                agent.follow_key()
                return Link.UP in agent.changes()

            await until(follows)
            agent.send(hello(N1))
            await until(lambda: len(there.reports.enrolment.nodes[N1]) == 1)
            stale.send(hello(N1, "stale"))
            await until(lambda: list(stale.orders()) or Link.REFUSED in stale.changes())
            assert there.heard[-1] == (N1, hello(N1))

    run(scenario)


def test_a_list_that_can_t_be_read_leaves_all_as_it_was(tmp_path: Path) -> None:
    keys = keys_with(tmp_path, N1)

    async def scenario() -> None:
        async with head(keys) as there:
            (tmp_path / "enrolled.json").write_text("{")
            there.reports._listener._follow_keys()
            assert there.reports._listener._trouble
            await there.agent(keys, N1)

    run(scenario)


def test_a_token_s_connection_can_do_nothing_but_join(tmp_path: Path) -> None:
    keys = keys_with(tmp_path / "keys", N1)
    token = Enrolment(keys).issue(60.0)
    guest = Keys(tmp_path / "guest")
    write_key(guest.node_key(N1), token.secret)
    write_key(guest.directory / "controller.pub", token.controller)

    async def scenario() -> None:
        async with head(keys) as there:
            right = await there.agent(keys, N1)
            uplink = await there.connect(guest, N1)
            uplink.send(hello(N1, "forged"))
            uplink.send(Report(N1, "boot", 9, (), ()))
            await until(lambda: there.reports.refused == 2)
            right.send(Report(N1, "boot", 2, (), ()))
            await received(right)
            assert [message for _, message in there.heard] == [hello(N1), Report(N1, "boot", 2, (), ())]

    run(scenario)


@pytest.mark.parametrize(
    ("token", "node", "why"),
    [
        pytest.param({"nodes": "gpu-*"}, N1, "for nodes named gpu-", id="another pattern"),
        pytest.param({}, N2, "enrolled already", id="a name that is given"),
        pytest.param({}, "gone", "was revoked", id="a name that was revoked"),
        pytest.param({"uses": 0}, N1, "not valid any more", id="used up"),
        pytest.param({"for_s": 0.0}, N1, "not valid any more", id="expired"),
    ],
)
def test_a_token_lets_nobody_in_whom_it_is_not_for(
    tmp_path: Path, token: dict[str, object], node: str, why: str
) -> None:
    keys = keys_with(tmp_path, N2, "gone")
    enrolment = Enrolment(keys)
    enrolment.revoke(NodeId("gone"))
    given = enrolment.issue(**{"for_s": 60.0, **token})  # type: ignore[arg-type]
    before = dict(enrolment.nodes)
    mine, shown = (zmq.curve_public(secret).decode() for secret in (new_secret(), given.secret))
    with pytest.raises(EnrolmentError, match=why):
        enrolment.join(NodeId(node), mine, shown)
    assert Enrolment(keys).nodes == before


def test_a_token_is_used_up_and_joining_twice_is_as_once(tmp_path: Path) -> None:
    enrolment = Enrolment(ensure_keys(tmp_path))
    shown = zmq.curve_public(enrolment.issue(60.0, uses=1).secret).decode()
    key, other = (zmq.curve_public(new_secret()).decode() for _ in range(2))
    for _ in range(2):
        enrolment.join(N1, key, shown)
    assert enrolment.nodes == {N1: (key,)}
    assert enrolment.owner(shown) is None
    with pytest.raises(EnrolmentError, match="not valid"):
        enrolment.join(N2, other, shown)


def test_one_key_is_never_two_nodes_s(tmp_path: Path) -> None:
    keys = keys_with(tmp_path, N1)
    enrolment = Enrolment(keys)
    shown = zmq.curve_public(enrolment.issue(60.0).secret).decode()
    for public in (keys.of_node(N1).public.decode(), shown):
        with pytest.raises(EnrolmentError, match="another's"):
            enrolment.join(N2, public, shown)
    assert Join(N2, shown).node == N2
