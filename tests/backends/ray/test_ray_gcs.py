"""A GCS is Ray's own and ours, or is not remembered; none is started that forgot what it knew."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from sentinel.backends.ray import gcs as ray_gcs

NOBODY = 65534
root = pytest.mark.skipif(os.geteuid() != 0, reason="starts processes of other users")
DURABLE = {"RAY_gcs_storage": "rocksdb"}
SERVES = (
    "import os, socket, sys, time; open('/proc/self/comm', 'w').write('gcs_server');"
    "door = socket.create_server(('127.0.0.1', int(sys.argv[1]))) if sys.argv[1] != '0' else None;"
    "os.setresuid(*[int(sys.argv[2])] * 3); print(flush=True); time.sleep(60)"
)


@pytest.mark.parametrize(("listening", "answer"), [(True, "ok"), (False, "refused")])
def test_alive_tells_an_open_port_from_a_closed_one(listening: bool, answer: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        if listening:
            listener.listen()
        assert ray_gcs.alive(f"127.0.0.1:{listener.getsockname()[1]}") == answer


@contextmanager
def served(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """A door where each who comes is answered in this way, until its end."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    with listener.accept()[0] as caller:
                        answer(caller)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda caller: caller.sendall(bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))), id="settings"),
        pytest.param(lambda _: None, id="it ends the connection, as TLS would"),
    ],
)
def test_who_greets_or_hangs_up_is_there(answer: Callable[[socket.socket], object]) -> None:
    with served(answer) as address:
        assert ray_gcs.answers(address, 20.0) == "ok"


def test_who_takes_a_connection_and_says_nothing_hangs() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        assert (ray_gcs.alive(address), ray_gcs.answers(address, 0.2)) == ("ok", "hung")
    assert ray_gcs.answers(address, 0.2) == "refused"


def test_a_grpc_server_greets() -> None:
    grpc = pytest.importorskip("grpc")
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        assert ray_gcs.answers(f"127.0.0.1:{port}", 20.0) == "ok"
    finally:
        server.stop(None).wait()


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What counts as Ray's own program here: an interpreter that can do what a test needs."""
    path = Path(sys.executable).resolve()
    monkeypatch.setattr(ray_gcs, "program", lambda: path)
    return path


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        free: int = listener.getsockname()[1]
    return free


@contextmanager
def gcs(
    program: Path,
    port: int,
    listens_on: int,
    uid: int | None = None,
    within: Sequence[str] = (),
    **named: Any,
) -> Iterator[int]:
    asked = [f"--gcs_server_port={port}", "--node-ip-address=127.0.0.1"]
    user = os.geteuid() if uid is None else uid
    argv = [*within, str(program), "-c", SERVES, str(listens_on), str(user), *asked]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, **named) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def test_the_gcs_of_the_ray_that_is_installed_is_known() -> None:
    assert ray_gcs.program().name == "gcs_server"


def test_a_gcs_of_ours_is_found_and_remembered_for_its_user_only(
    tmp_path: Path, program: Path, port: int
) -> None:
    environment = {**os.environ, **DURABLE, "LD_PRELOAD": "", "AWS_SECRET": "x"}
    with gcs(program, port, port, env=environment) as pid:
        assert ray_gcs.find("127.0.0.1", port) == pid
        ray_gcs.remember(tmp_path / "gcs.json", pid)
    kept = json.loads((tmp_path / "gcs.json").read_text())
    assert kept["address"] == f"127.0.0.1:{port}"
    assert kept["environment"].items() >= DURABLE.items()
    assert kept["environment"].keys() & {"LD_PRELOAD", "AWS_SECRET", "PYTHONPATH"} == set()
    assert (tmp_path / "gcs.json").stat().st_mode & 0o777 == 0o600


def another_user_s(program: Path, port: int) -> dict[str, Any]:
    return {"program": program, "listens_on": port, "uid": NOBODY}


def another_program(program: Path, port: int) -> dict[str, Any]:
    copied = Path(shutil.copy(program, Path.cwd() / "gcs_server"))
    return {"program": copied, "listens_on": port}


@root
def test_a_gcs_at_the_same_address_of_another_network_is_another_one(program: Path, port: int) -> None:
    with gcs(program, port, 0, within=("unshare", "--net")) as pid:
        with pytest.raises(ray_gcs.GcsError, match="no GCS of"):
            ray_gcs.find("127.0.0.1", port)
        assert ray_gcs.find("127.0.0.1", port, Path(f"/proc/{pid}/ns/net")) == pid


@pytest.mark.parametrize("forged", [pytest.param(another_user_s, marks=root), another_program])
def test_a_forged_gcs_is_neither_found_nor_remembered(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    program: Path,
    port: int,
    forged: Callable[[Path, int], dict[str, Any]],
) -> None:
    monkeypatch.chdir(tmp_path)
    environment = {"PYTHONHOME": sys.base_prefix, **DURABLE}
    with gcs(port=port, cwd="/", env=environment, **forged(program, port)) as pid:
        with pytest.raises(ray_gcs.GcsError, match=f"no GCS of 127.0.0.1:{port}, started by this user"):
            ray_gcs.find("127.0.0.1", port)
        with pytest.raises(ray_gcs.GcsError, match=f"pid {pid}"):
            ray_gcs.remember(tmp_path / "gcs.json", pid)
    assert not (tmp_path / "gcs.json").exists()


def test_a_program_that_was_exchanged_since_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, port: int
) -> None:
    ours = Path(shutil.copy(Path(sys.executable).resolve(), tmp_path / "program"))
    monkeypatch.setattr(ray_gcs, "program", lambda: ours)
    environment = {**os.environ, "PYTHONHOME": sys.base_prefix}
    with gcs(ours, port, port, env=environment):
        ours.rename(tmp_path / "running")
        shutil.copy(tmp_path / "running", ours)
        with pytest.raises(ray_gcs.GcsError):
            ray_gcs.find("127.0.0.1", port)


def test_a_gcs_that_does_not_listen_where_it_says_is_not_remembered(
    tmp_path: Path, program: Path, port: int
) -> None:
    with (
        gcs(program, port, 0) as pid,
        socket.create_server(("127.0.0.1", port)),  # somebody else does
        pytest.raises(ray_gcs.GcsError, match=f"does not listen on port {port}"),
    ):
        ray_gcs.remember(tmp_path / "gcs.json", pid)


def installed(folder: Path) -> Path:
    """Make what looks like an installed Ray; gives its program."""
    program = folder / "ray" / "core/src/ray/gcs/gcs_server"
    program.parent.mkdir(parents=True)
    (folder / "ray" / "__init__.py").touch()
    program.touch()
    return program


SPOILED: Mapping[str, Callable[[Path], None]] = {
    "by everybody": lambda program: program.chmod(0o757),
    "by its group": lambda program: program.chmod(0o775),
    "in its folder": lambda program: program.parent.chmod(0o777),
    "above its folder": lambda program: program.parents[5].chmod(0o777),
    "by its owner": lambda program: os.chown(program, NOBODY, NOBODY),
    "by its folder's owner": lambda program: os.chown(program.parents[2], NOBODY, NOBODY),
}


@root
@pytest.mark.parametrize("how", SPOILED)
def test_a_program_that_others_could_have_exchanged_is_never_ray_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    program = installed(tmp_path / "lib")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "lib")])
    monkeypatch.delitem(sys.modules, "ray", raising=False)
    assert ray_gcs.program() == program
    SPOILED[how](program)
    with pytest.raises(ray_gcs.GcsError, match="others can write there"):
        ray_gcs.program()


def remembered(folder: Path, **changed: Any) -> Path:
    memory = folder / "gcs.json"
    content = {"address": "127.0.0.1:1", "command": ["gcs_server"], "environment": DURABLE, "directory": "/"}
    memory.write_text(json.dumps(content | changed))
    return memory


def test_a_gcs_that_kept_its_state_in_memory_is_not_started_again(tmp_path: Path) -> None:
    with pytest.raises(ray_gcs.GcsError, match="in memory only"):
        ray_gcs.restart(remembered(tmp_path, environment={}))


def there(folder: Path, port: int, **changed: Any) -> Path:
    """What was remembered of a GCS that is there; another one ends at once."""
    return remembered(folder, address=f"127.0.0.1:{port}", command=["gcs_server", "-c", ""], **changed)


def test_a_gcs_that_hangs_is_ended_and_started_again(
    tmp_path: Path, program: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_gcs, "HUNG_S", 0.2)
    with gcs(program, port, port) as hung:
        started = ray_gcs.restart(there(tmp_path, port))
        assert started != hung
        assert not psutil.pid_exists(hung) or psutil.Process(hung).status() == psutil.STATUS_ZOMBIE
        with suppress(ChildProcessError):
            os.waitpid(started, 0)


def test_a_gcs_that_hangs_and_kept_its_state_in_memory_is_people_s(
    tmp_path: Path, program: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_gcs, "HUNG_S", 0.2)
    with gcs(program, port, port) as hung:
        with pytest.raises(ray_gcs.GcsError, match=rf"in memory only.*it hangs: .*kill -9 {hung}$"):
            ray_gcs.restart(there(tmp_path, port, environment={}))
        assert psutil.Process(hung).status() != psutil.STATUS_ZOMBIE


def test_a_gcs_that_answers_or_only_just_starts_is_left_alone(
    tmp_path: Path, program: Path, port: int
) -> None:
    with gcs(program, port, 0) as starting:
        assert ray_gcs.restart(there(tmp_path, port)) == starting
    with served(lambda caller: caller.sendall(b"!")) as address:
        taken = int(address.rpartition(":")[2])
        with gcs(program, taken, 0) as answering:
            assert ray_gcs.restart(there(tmp_path, taken)) == answering


def test_what_is_started_again_is_ray_s_own_program_whatever_was_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, output = tmp_path / "ours", tmp_path / "output"
    ours.write_text(f"#!/bin/sh\necho $0 $* >{output}; env >>{output}; exec sleep 0\n")
    ours.chmod(0o700)
    monkeypatch.setattr(ray_gcs, "program", lambda: ours)
    environment = {**DURABLE, "LD_PRELOAD": "/tmp/evil.so", "PATH": os.environ["PATH"]}
    forged = ["/tmp/evil", "--gcs_server_port=1"]
    pid = ray_gcs.restart(remembered(tmp_path, command=forged, environment=environment))
    with suppress(ChildProcessError):  # another start of a process may have taken note of its end
        os.waitpid(pid, 0)
    first, *rest = output.read_text().splitlines()
    assert first == f"{ours} --gcs_server_port=1"
    assert "RAY_gcs_storage=rocksdb" in rest
    assert not any(line.startswith("LD_PRELOAD") for line in rest)


def others_can_write(memory: Path) -> None:
    memory.chmod(0o666)


def another_user_owns(memory: Path) -> None:
    os.chown(memory, NOBODY, NOBODY)


def link(memory: Path) -> None:
    memory.rename(memory.with_name("elsewhere"))
    memory.symlink_to("elsewhere")


@pytest.mark.parametrize(
    "spoil",
    [
        others_can_write,
        pytest.param(another_user_owns, marks=root),
        link,
        lambda memory: memory.write_bytes(b"\xff\xfe"),
        lambda memory: memory.write_text("[" * 100_000),
        lambda memory: memory.write_text('{"address": 3}'),
        lambda memory: memory.write_text(memory.read_text().replace(":1", ":" + "9" * 5_000)),
        lambda memory: memory.write_text(memory.read_text().replace('"/"', '"/no/such"')),
        lambda memory: memory.write_text(memory.read_text().replace("rocksdb", "\\u0000")),
        Path.unlink,
    ],
)
def test_what_can_t_be_trusted_or_read_is_one_line_and_starts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(ray_gcs, "program", lambda: Path("/bin/true"))
    memory = remembered(tmp_path)
    spoil(memory)
    with pytest.raises(ray_gcs.GcsError) as refused:
        ray_gcs.restart(memory)
    assert "\n" not in str(refused.value)


def test_a_disk_that_takes_nothing_remembers_no_gcs(tmp_path: Path, program: Path, port: int) -> None:
    (tmp_path / "gcs.json").mkdir()
    with gcs(program, port, port) as pid, pytest.raises(ray_gcs.GcsError, match="can't be remembered"):
        ray_gcs.remember(tmp_path / "gcs.json", pid)


def test_a_process_that_is_no_gcs_is_not_remembered(tmp_path: Path) -> None:
    with pytest.raises(ray_gcs.GcsError, match="without --"):
        ray_gcs.remember(tmp_path / "gcs.json", os.getpid())
    assert not (tmp_path / "gcs.json").exists()
