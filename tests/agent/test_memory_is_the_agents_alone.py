"""What somebody with a login made in a node's memory directory is refused in one line, and never followed."""

import asyncio
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from agent_node import NODE, Node, until
from forged import give_away

from sentinel import private
from sentinel.adapters import agent_card as card
from sentinel.adapters.agent_card import Card
from sentinel.adapters.bookmark import Bookmark
from sentinel.gang import notices
from sentinel.heartbeat import HeartbeatError, HeartbeatWriter
from sentinel.model.finding import Finding, Health
from sentinel.model.report import FindingSeen
from sentinel.private import NotPrivateError
from sentinel.runtime.agent.findings import FindingBook
from sentinel.runtime.agent.folder import Folder
from sentinel.runtime.agent.lease import Lease
from sentinel.runtime.agent.process import EXIT_REFUSED, AgentError, lock

root = pytest.mark.skipif(os.geteuid() != 0, reason="gives folders to other users")
NOTE = FindingSeen(Finding("trainer", "disk-full", "checkpoints", Health.WARNING, "full"))
HOT = Finding("gpu", "temperature", "gpu-0", Health.WARNING, "hot")


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return private.make_folder(tmp_path / "sentinel-blue" / "n1")


def _linked(path: Path) -> None:
    private.make_folder(path.parents[1] / "theirs")
    path.symlink_to(path.parents[1] / "theirs")


def _wide(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def _theirs(path: Path) -> None:
    path.mkdir()
    give_away(path)


FOLDERS = [
    pytest.param(_linked, id="a link"),
    pytest.param(_wide, id="one that all may write to"),
    pytest.param(_theirs, marks=root, id="another user's"),
    pytest.param(Path.touch, id="a file"),
]


@pytest.mark.parametrize("made", FOLDERS)
@pytest.mark.parametrize("where", ["sentinel-blue", "sentinel-blue/n1", "sentinel-blue/n1/beats"])
def test_a_folder_that_somebody_else_made_is_refused_in_one_line(
    node: Node, made: Callable[[Path], None], where: str
) -> None:
    place = node.root / where
    private.make_folder(place.parent)
    made(place)
    memory = node.root / "sentinel-blue" / "n1"
    flags = [
        "--controller=tcp://127.0.0.1:1",
        f"--keys={node.root}/keys",
        f"--node={NODE}",
        f"--memory={memory}",
    ]
    argv = [sys.executable, "-m", "sentinel.runtime.agent", *flags, "--gpus=none", "--kernel-log=none"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == EXIT_REFUSED
    (line,) = done.stderr.splitlines()
    assert line.startswith("sentinel-agent: ")
    assert str(place) in line
    assert not (node.root / "theirs").exists() or not any((node.root / "theirs").iterdir())


FILES: dict[str, Callable[[Path], object]] = {
    "agent.lock": lambda memory: os.close(lock(memory, "n1")),
    "agent.json": lambda memory: card.write(memory, Card("n1", 1, 2, 3, 4)),
    "findings.json": lambda memory: FindingBook(memory / "findings.json").update("gpu", [HOT], 1.0),
    "kernel-log": lambda memory: Bookmark(memory / "kernel-log", 1).keep(7),
    "lease": lambda memory: Lease(memory / "lease").renew(),
    "errors/note.json": lambda memory: notices.leave(memory, "note", NOTE),
    "beats/w.beat": lambda memory: HeartbeatWriter(
        memory / "beats" / "w.beat", job="j", worker="w", gpu=0
    ).close(unlink=False),
    "agent.log": lambda memory: launch(memory),
}


LAUNCH = """
import sys
from sentinel.backends.ray.detach import launch_detached
launch_detached([sys.executable, "-c", "print('said', flush=True)"], {"SENTINEL_MEMORY": sys.argv[1]})
"""


def launch(memory: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("SENTINEL_")}
    argv = [sys.executable, "-c", LAUNCH, str(memory)]
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(done.stderr)


def _passing(path: Path) -> Path:
    """The name under which a record is made."""
    return path.with_name(f".{path.name}.{os.getpid()}")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("what", ["link", "draft linked", "fifo"])
@pytest.mark.timeout(30)
def test_a_link_or_a_pipe_in_a_files_place_is_not_written_through(memory: Path, name: str, what: str) -> None:
    precious, path = memory.parent / "precious", memory / name
    private.make_folder(path.parent)
    precious.write_text("precious")
    drafts = (path.with_suffix(".new"), path.with_name(f".{path.stem}"), _passing(path))
    match what:
        case "link":
            path.symlink_to(precious)
        case "draft linked":
            for draft in drafts:
                draft.symlink_to(precious)
        case _:
            os.mkfifo(path)
    with suppress(OSError, AgentError, HeartbeatError):
        FILES[name](memory)
    assert precious.read_text() == "precious"


@pytest.mark.parametrize("name", FILES)
def test_what_is_left_is_ours_alone_whatever_the_umask(memory: Path, name: str) -> None:
    before = os.umask(0)
    try:
        FILES[name](memory)
    finally:
        os.umask(before)
    assert stat.S_IMODE((memory / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((memory / name).parent.stat().st_mode) == 0o700


def test_an_agent_and_its_prober_leave_nothing_that_others_can_read(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            node.rank()
            await until(lambda: bool(controller.beats and node.agent_card().prober_pid), controller)
            made = [node.memory.parent, *node.memory.parent.rglob("*")]
            assert {f"{path}": stat.S_IMODE(path.stat().st_mode) & 0o077 for path in made} == {
                f"{path}": 0 for path in made
            }
            for pid in (node.agent_card().pid, node.agent_card().prober_pid):
                assert "Umask:\t0077" in Path(f"/proc/{pid}/status").read_text()

    before = os.umask(0)
    try:
        asyncio.run(scenario())
    finally:
        os.umask(before)


def test_a_log_that_its_operator_chose_may_lie_among_others(tmp_path: Path) -> None:
    logs = tmp_path / "var-log"
    logs.mkdir(mode=0o755)
    env = {**os.environ, "SENTINEL_AGENT_LOG": str(logs / "agent.log")}
    subprocess.run([sys.executable, "-c", LAUNCH, "/nowhere"], env=env, check=True)
    assert stat.S_IMODE(logs.stat().st_mode) == 0o755, "what is not ours is left as it is"
    assert stat.S_IMODE((logs / "agent.log").stat().st_mode) == 0o600


@pytest.mark.parametrize("made", FOLDERS)
def test_a_folder_of_ranks_files_is_ours_or_refused(memory: Path, made: Callable[[Path], None]) -> None:
    made(memory / "errors")
    with pytest.raises(NotPrivateError, match=str(memory / "errors")):
        Folder(memory / "errors", ".json", "rank-note")
    notices.leave(memory, "note", NOTE)
    assert not list((memory.parent).rglob("note.json"))
