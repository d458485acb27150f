"""A process that a file names is acted on only while it is the very one that was written there, and ours."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from sentinel import config
from sentinel.runtime import running, up
from sentinel.runtime.running import CONTROLLER, Running
from sentinel.runtime.watchdog import Watchdog

NOBODY = 65534
SLEEPS = "import os, sys, time; os.setresuid(*[int(sys.argv[1])] * 3); print(flush=True); time.sleep(60)"


@pytest.fixture
def processes() -> Iterator[list["subprocess.Popen[bytes]"]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


Start = Callable[..., Running]


@pytest.fixture
def start(processes: list["subprocess.Popen[bytes]"]) -> Start:
    """Start what looks like a controller, or another module of ours."""

    def start(module: str = CONTROLLER, uid: int | None = None) -> Running:
        argv = [sys.executable, "-c", SLEEPS, str(os.geteuid() if uid is None else uid), "-m", module]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return running.child(process.pid)

    return start


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "controller.pid"


def test_a_process_that_was_written_down_is_found_and_ended(file: Path, start: Start) -> None:
    process = start()
    running.write(file, process)
    assert file.stat().st_mode & 0o777 == 0o600
    assert running.find(file, CONTROLLER) == process
    process.send(signal.SIGKILL)
    psutil.Process(process.pid).wait(10)
    assert not process.alive
    assert running.find(file, CONTROLLER) is None


def recycled(process: Running) -> bytes:
    return running.text_of(process._replace(started=process.started - 1))


@pytest.mark.parametrize(
    ("module", "uid", "text"),
    [
        pytest.param(CONTROLLER, None, recycled, id="another one has its number now"),
        pytest.param(CONTROLLER, None, lambda process: b"%d" % process.pid, id="nobody says when it started"),
        pytest.param("sentinel.runtime.agent", None, running.text_of, id="another program of ours"),
        pytest.param(
            CONTROLLER,
            NOBODY,
            running.text_of,
            marks=pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users"),
            id="another user's",
        ),
    ],
)
def test_who_is_not_that_process_is_neither_adopted_nor_ended(
    tmp_path: Path, file: Path, start: Start, module: str, uid: int | None, text: Callable[[Running], bytes]
) -> None:
    process = start(module, uid)
    file.write_bytes(text(process))
    assert running.find(file, CONTROLLER) is None
    settings = config.Settings(cluster=config.Cluster(state_dir=tmp_path))
    assert up.down(settings) == "nothing of sentinel runs here"
    assert Watchdog(settings, None)._adopt() is None
    assert process.alive


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"-1 5", b"0 0", b"%d 1" % 2**40, b"9" * 60, b"1 2 3", b"x y", b"\x00" * 5000, b"1"],
)
def test_whatever_a_file_holds_nobody_is_found(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert running.find(file, CONTROLLER) is None


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_whatever_lies_there_nobody_is_found(file: Path, make: Callable[[Path], None]) -> None:
    make(file)
    assert running.find(file, CONTROLLER) is None


def test_a_file_that_others_can_write_names_nobody(file: Path, start: Start) -> None:
    running.write(file, start())
    file.chmod(0o666)
    assert running.find(file, CONTROLLER) is None


def test_a_watchdog_of_an_older_release_is_named_and_left_alone(tmp_path: Path) -> None:
    settings = config.Settings(cluster=config.Cluster(state_dir=tmp_path))
    watchdog = Watchdog(settings, None)
    with watchdog._only_one():
        os.truncate(tmp_path / "watchdog.lock", 0)
        for command in (up.up, up.down):
            with pytest.raises(up.UpError, match="a watchdog runs that does not say who"):
                command(settings)
