"""Whoever starts Sentinel stands in some folder: what others have left there is neither imported nor read."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sentinel
from sentinel import private
from sentinel.backends.ray.link import Link
from sentinel.runtime.agent import settings
from sentinel.runtime.agent.prober import Prober

PLANTED = "open('planted', 'w').close()\nraise SystemExit(9)\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where somebody with a login has left modules that we import by these names."""
    for name in ("structlog", "msgspec", "zmq"):
        (tmp_path / f"{name}.py").write_text(PLANTED)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_process_of_ours_imports_nothing_from_there(here: Path) -> None:
    given = settings.parse(["--controller=tcp://127.0.0.1:1", f"--keys={here}", "--node=n", "--gpus=none"])
    prober = Prober(given)
    try:
        assert prober.start(0.0)
        os.set_blocking(prober.output, True)
        assert prober.answers(), "it runs"
    finally:
        prober.close()
    ours = ("runtime.watchdog", "runtime.controller", "backends.ray.link_process", "runtime.agent")
    for module in ours:
        argv = [*private.MODULE, f"sentinel.{module}", "--help"]
        subprocess.run(argv, capture_output=True, check=True, timeout=60)
    assert not (here / "planted").exists()


def test_ranks_import_nothing_from_there(here: Path) -> None:
    """Ray puts the folder in which its driver runs before all others in which a worker looks for modules."""

    async def scenario() -> None:
        private.make_folder(Path("state"))
        link = Link("nonsense", Path("state"))
        running = asyncio.create_task(link.run())
        try:
            async with asyncio.timeout(30.0):
                while link.process is None:
                    await asyncio.sleep(0.01)
            assert Path(f"/proc/{link.process.pid}/cwd").readlink() == Path("/")
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(scenario())


def test_each_is_started_so() -> None:
    root = Path(*sentinel.__path__)
    starting = [path for path in root.rglob("*.py") if re.search(r'sys\.executable.*"-m"', path.read_text())]
    assert [path for path in starting if path.parent.name != "demo"] == [root / "private.py"]
    assert private.MODULE[0] == sys.executable
