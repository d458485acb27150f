"""An agent without a key of its own gets one by a join token, and says in one line why it does not."""

import asyncio
import stat
import subprocess
from pathlib import Path

import pytest
import zmq
from agent_node import NODE, Controller, Node, until

from sentinel.adapters.enrolment import Enrolment
from sentinel.adapters.keys import Keys, ensure_keys, new_secret, write_key
from sentinel.adapters.transport import Reports


def start(node: Node, endpoint: str, folder: Path, token: str = "") -> "subprocess.Popen[str]":
    prefix = ("env", f"SENTINEL_JOIN_TOKEN={token}") if token else ()
    return node.agent(endpoint, folder, prefix=prefix)


async def last_words(agent: "subprocess.Popen[str]") -> str:
    _, errors = await asyncio.to_thread(agent.communicate)
    assert agent.returncode == 2
    [line] = errors.splitlines()
    return line


@pytest.mark.parametrize("way", ["environment", "file", "the key that all shared"])
def test_an_agent_joins_with_what_it_has(tmp_path: Path, node: Node, way: str) -> None:
    head, folder = ensure_keys(tmp_path / "head"), Keys(tmp_path / "own")
    enrolment = Enrolment(head)

    async def scenario() -> None:
        token = ""
        if way == "environment":
            token = str(enrolment.issue(60.0, nodes="node-*", uses=1))
        elif way == "file":
            write_key(folder.directory / "join.token", str(enrolment.issue(60.0)).encode())
        else:  # as an earlier release left it on both sides
            secret = new_secret()
            write_key(head.shared, secret)
            write_key(folder.shared, secret)
            write_key(folder.directory / "controller.pub", head.controller_public)
            write_key(folder.directory / "snapshot.key", head.snapshot_secret)
            enrolment.accept_shared(60.0)
        async with Reports("tcp://127.0.0.1:0", head) as reports:
            controller = Controller(reports)
            listening = asyncio.create_task(controller.listen())
            start(node, reports.endpoint, folder.directory, token)
            await until(lambda: bool(controller.hellos), node)
            listening.cancel()
            assert reports.enrolment.nodes == {NODE: (folder.of_node(NODE).public.decode(),)}
        assert folder.snapshot_secret == head.snapshot_secret
        assert folder.controller_public == head.controller_public
        made = [path for path in folder.directory.rglob("*") if path.is_file()]
        assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o600}
        assert not list(folder.directory.rglob("*.joining"))

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("token", "said"),
    [
        pytest.param({"for_s": 0.0}, "a join token is good for a while", id="expired"),
        pytest.param({"nodes": "gpu-*"}, "is for nodes named gpu-*, not for node-7", id="for others"),
        pytest.param({"taken": True}, "node-7 is enrolled already", id="a name that is given"),
        pytest.param(None, "no join token: `sentinel enroll node-7` on the head node", id="none"),
        pytest.param("sentinel-join-12", "SENTINEL_JOIN_TOKEN: not a join token", id="cut short"),
    ],
)
def test_an_agent_that_may_not_join_says_why(
    tmp_path: Path, node: Node, token: dict[str, object] | str | None, said: str
) -> None:
    head = ensure_keys(tmp_path / "head")
    enrolment = Enrolment(head)

    async def scenario() -> None:
        shown = token or ""
        if isinstance(token, dict):
            if token.pop("taken", False):
                enrolment.enroll(NODE)
            shown = str(enrolment.issue(**{"for_s": 60.0, **token}))  # type: ignore[arg-type]
        before = dict(enrolment.nodes)
        async with Reports("tcp://127.0.0.1:0", head) as reports:
            listening = asyncio.create_task(reports.recv())
            agent = start(node, reports.endpoint, tmp_path / "own", str(shown))
            line = await last_words(agent)
            listening.cancel()
            assert reports.enrolment.nodes == before
        assert said in line
        assert not isinstance(token, dict) or str(shown) not in line

    asyncio.run(scenario())


def test_a_key_that_the_controller_knows_is_not_lost_with_its_answer(tmp_path: Path, node: Node) -> None:
    head, folder = ensure_keys(tmp_path / "head"), Keys(tmp_path / "own")
    enrolment = Enrolment(head)
    token, secret = enrolment.issue(60.0, uses=1), new_secret()
    write_key(folder.node_key(NODE).with_name(f"{NODE}.joining"), secret)
    enrolment.join(
        NODE, zmq.curve_public(secret).decode(), zmq.curve_public(token.secret).decode()
    )  # and then its agent was killed

    async def scenario() -> None:
        enrolment.issue(60.0)
        async with Reports("tcp://127.0.0.1:0", head) as reports:
            controller = Controller(reports)
            listening = asyncio.create_task(controller.listen())
            again = enrolment.issue(60.0)
            await until(lambda: reports.enrolment.refresh() or len(reports.enrolment.tokens) >= 2)
            start(node, reports.endpoint, folder.directory, str(again))
            await until(lambda: bool(controller.hellos), node)
            listening.cancel()
        assert folder.of_node(NODE).secret == secret

    asyncio.run(scenario())
