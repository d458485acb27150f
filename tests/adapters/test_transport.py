import asyncio
import random
import stat
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
import zmq
from msgspec.structs import replace

from sentinel.adapters.keys import KeyFileError, ensure_keys, write_key
from sentinel.adapters.transport import Reports
from sentinel.adapters.uplink import Link, Uplink
from sentinel.model.codec import encode, to_plain
from sentinel.model.ids import JobId, NodeId, WorkerId
from sentinel.model.report import (
    Ack,
    Hello,
    Leave,
    Order,
    OrderDone,
    ProbedSeen,
    RankBeat,
    Report,
    Unreadable,
)
from tests.enrolled import keys_with

NODE = NodeId("node-7")
HELLO = Hello(NODE, "boot", "127.0.0.1", 1, 8)
BEAT = RankBeat(
    JobId("moe"), 0, WorkerId("w0"), 7, 0, 1, 10, "compute", 5, 4, 0.1, 1e9, 2.5, 0.1, "S", 0.2
)  # fmt: skip
REPORT = Report(NODE, "boot", 1, (), ((1, ProbedSeen(("gpu",), "exit:7")),))


async def until(condition: Callable[[], bool], deadline_s: float = 5.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not condition():
            await asyncio.sleep(0.01)


async def connect(uplink: Uplink) -> None:
    await until(lambda: Link.UP in uplink.changes())


async def orders(uplink: Uplink) -> list[Order]:
    received: list[Order] = []
    await until(lambda: bool(received.extend(uplink.orders()) or received))
    return received


def test_reports_and_orders_travel_both_ways(tmp_path: Path) -> None:
    keys = keys_with(tmp_path, NODE)

    async def scenario() -> None:
        async with Reports("tcp://127.0.0.1:0", keys) as reports:
            uplink = Uplink(reports.endpoint, keys, NODE)
            await connect(uplink)
            assert uplink.send(HELLO)
            assert uplink.send(REPORT)
            assert await reports.recv() == (NODE, HELLO)
            assert await reports.recv() == (NODE, REPORT)
            assert await reports.send(NODE, Ack(1))
            assert await orders(uplink) == [Ack(1)]
            assert not await reports.send(NodeId("nobody"), Ack(1))
            uplink.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        pytest.param(b"\xc1", "MessagePack data is malformed", id="not msgpack"),
        pytest.param(msgpack.packb({"is": "Rapport"}), "Invalid value 'Rapport' - at `$.is`", id="kind"),
        pytest.param(msgpack.packb({"is": ["Report"]}), "Expected `str`", id="kind is a list"),
        pytest.param(
            msgpack.packb({**to_plain(REPORT), "seq": "one"}),
            "Expected `int`, got `str` - at `$.seq`",
            id="field",
        ),
        pytest.param(
            msgpack.packb({**to_plain(REPORT), "node": 7}), "Expected `str`, got `int`", id="no name"
        ),
        pytest.param(b"\x82\xa2is\xa6Report\xa6events" + b"\x91" * 1020, "recursion", id="nested deeply"),
        pytest.param(
            b"\x82\xa2is\xa6Report\xa6events" + b"\x91" * 10**6, "recursion", id="nested without end"
        ),
        pytest.param(b"\xdf\xff\xff\xff\xff", "truncated", id="a header that claims too much"),
        pytest.param(
            msgpack.packb(to_plain(Report(NodeId("node-8"), "boot", 1, (), ()))),
            "its key is node-7's, not node-8's",
            id="another node's name",
        ),
    ],
)
def test_a_message_that_does_not_parse_is_refused_in_one_line_and_the_next_is_read(
    tmp_path: Path, payload: bytes, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = keys_with(tmp_path, NODE)

    async def scenario() -> None:
        async with Reports("tcp://127.0.0.1:0", keys) as reports:
            uplink = Uplink(reports.endpoint, keys, NODE)
            await connect(uplink)
            uplink.socket.send(payload)
            assert uplink.send(REPORT)
            assert await reports.recv() == (NODE, REPORT)
            assert reports.refused == 1
            uplink.close()

    asyncio.run(scenario())
    lines = capsys.readouterr().out.strip().splitlines()
    assert len(lines) == 1
    assert "node-7" in lines[0]
    assert said in lines[0]


def test_a_beat_that_can_t_be_read_keeps_no_other_from_being_heard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = keys_with(tmp_path, NODE)
    beats = [BEAT, {**to_plain(BEAT), "step": 2**60}, {"job": "moe"}, BEAT]

    async def scenario() -> None:
        async with Reports("tcp://127.0.0.1:0", keys) as reports:
            uplink = Uplink(reports.endpoint, keys, NODE)
            await connect(uplink)
            uplink.socket.send(encode({**to_plain(REPORT), "beats": beats}))
            assert await reports.recv() == (NODE, replace(REPORT, beats=(BEAT, BEAT)))
            assert reports.refused == 2
            uplink.close()

    asyncio.run(scenario())
    lines = capsys.readouterr().out.strip().splitlines()
    assert ["beat-refused" in line for line in lines] == [True, True]
    assert "`$.step`" in lines[0]


def test_orders_that_can_t_be_read_keep_none_from_being_obeyed(tmp_path: Path) -> None:
    keys, chance = keys_with(tmp_path, NODE), random.Random(3)
    noise = [b"\x91" * 5_000, *(chance.randbytes(40) for _ in range(50)), encode({"is": "Reboot"})]

    async def scenario() -> None:
        async with Reports("tcp://127.0.0.1:0", keys) as reports:
            uplink = Uplink(reports.endpoint, keys, NODE)
            await connect(uplink)
            assert uplink.send(HELLO)
            await reports.recv()
            await reports.send(NODE, Ack(1))
            for payload in noise:
                await reports._socket.send_multipart([reports._peers[NODE].route, payload])
            await reports.send(NODE, Leave("last"))
            received: list[object] = []
            await until(lambda: bool(received.extend(uplink.orders()) or Leave("last") in received))
            assert (received[0], received[-1], len(received)) == (Ack(1), Leave("last"), len(noise) + 2)
            assert all(isinstance(each, Unreadable) for each in received[1:-1])
            assert "Invalid value 'Reboot'" in repr(received[-2])
            uplink.close()

    asyncio.run(scenario())


def test_half_a_character_in_a_rank_s_words_stops_no_report(tmp_path: Path) -> None:
    keys = keys_with(tmp_path, NODE)
    done = OrderDone("order", False, "no such file: /data/\udcff.bin")

    async def scenario() -> None:
        async with Reports("tcp://127.0.0.1:0", keys) as reports:
            uplink = Uplink(reports.endpoint, keys, NODE)
            await connect(uplink)
            assert uplink.send(replace(REPORT, events=((1, done),)))
            _, report = await reports.recv()
            assert isinstance(report, Report)
            assert report.events == ((1, replace(done, detail="no such file: /data/\\udcff.bin")),)
            uplink.close()

    asyncio.run(scenario())


def test_an_agent_with_a_wrong_key_is_told_so(tmp_path: Path) -> None:
    keys, stranger = keys_with(tmp_path / "ours", NODE), keys_with(tmp_path / "stranger", NODE)
    (tmp_path / "stranger/controller.pub").write_bytes(keys.controller_public)

    async def scenario() -> None:
        async with Reports("tcp://127.0.0.1:0", keys) as reports:
            uplink = Uplink(reports.endpoint, stranger, NODE)
            await until(lambda: Link.REFUSED in uplink.changes())
            key = tmp_path / "stranger/nodes/node-7.key"
            assert uplink.refusal == f"the controller at {reports.endpoint} refused this agent's key ({key})"
            assert not uplink.send(REPORT)
            uplink.close()

    asyncio.run(scenario())


def test_an_agent_that_knows_another_controller_is_told_so(tmp_path: Path) -> None:
    keys, stranger = keys_with(tmp_path / "ours", NODE), keys_with(tmp_path / "stranger", NODE)
    write_key(stranger.node_key(NODE), keys.of_node(NODE).secret)

    async def scenario() -> None:
        async with Reports("tcp://127.0.0.1:0", keys) as reports:
            uplink = Uplink(reports.endpoint, stranger, NODE)
            await until(lambda: Link.REFUSED in uplink.changes(), 10)
            assert "controller.pub" in uplink.refusal
            uplink.close()

    asyncio.run(scenario())


def test_an_agent_reconnects_to_the_next_controller_at_the_same_address(tmp_path: Path) -> None:
    keys = keys_with(tmp_path, NODE)

    async def scenario() -> None:
        async with Reports("tcp://127.0.0.1:0", keys) as first:
            endpoint = first.endpoint
            uplink = Uplink(endpoint, keys, NODE)
            await connect(uplink)
        await until(lambda: Link.DOWN in uplink.changes())
        assert not uplink.send(REPORT)
        async with Reports(endpoint, keys) as second:
            await connect(uplink)
            assert uplink.send(HELLO)
            assert await second.recv() == (NODE, HELLO)
        uplink.close()

    asyncio.run(scenario())


def test_keys_are_made_once_and_are_secret(tmp_path: Path) -> None:
    first = ensure_keys(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    ensure_keys(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}
    assert zmq.curve_public(first.controller_secret) == first.controller_public


def test_a_missing_or_broken_key_file_is_named(tmp_path: Path) -> None:
    keys = ensure_keys(tmp_path)
    with pytest.raises(KeyFileError, match=r"nodes/node-7\.key: No such file"):
        keys.of_node(NODE)
    write_key(keys.node_key(NODE), b"short")
    with pytest.raises(KeyFileError, match=r"nodes/node-7\.key: not a CURVE key"):
        keys.of_node(NODE)
