"""Bring a killed Ray GCS back: how to start it is remembered while it lives, if it is Ray's own and ours."""

import errno
import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from sentinel import private

DURABLE = frozenset({"RAY_gcs_storage", "RAY_REDIS_ADDRESS"})
"""One of these is set when the GCS keeps its state outside its memory."""
_NEEDED = frozenset({"PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "no_proxy", "NO_PROXY"})
"""With Ray's own (`RAY_…`) and gRPC's (`GRPC_…`), what of its environment a GCS is started with again."""
REFUSED = "InvalidAuthToken"
"""So Ray's client says in its log that the token is none or a wrong one, and goes on asking."""
ASKS_WITHIN_S = 10.0
"""Ray is imported for it, which takes seconds; who is not refused by then is believed."""
_ASKS = "import sys; from ray._raylet import GcsClient; GcsClient(address=sys.argv[1])"
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""What a client of HTTP/2 begins with, and a frame of no settings."""
OWN_NETWORK = Path("/proc/self/ns/net")
"""The network namespace that this process is in."""
HUNG_S = 3.0
"""Who does not answer within this is ended: a GCS that only waits for a processor is late by less."""
_ENDS_WITHIN_S = 5.0
"""A process that is killed is gone at once, unless it waits for a disk that does not answer."""
_LONGEST = 1 << 20
"""Bytes of what was remembered that are looked at."""


class GcsError(RuntimeError):
    """The GCS was not found, or cannot be started again; the message says why."""


class Remembered(msgspec.Struct):
    """How to start a GCS again."""

    address: str
    command: list[str]
    environment: dict[str, str]
    directory: str


def program() -> Path:
    """Give the GCS of the Ray that the ray link imports, which only we and root can have changed.

    Raises GcsError where there is none, or where others could have put another one in its place.
    """
    found = importlib.util.find_spec("ray")
    if found is None or found.origin is None:
        raise GcsError("no Ray is installed here")
    path = (Path(found.origin).parent / "core/src/ray/gcs/gcs_server").resolve()
    for each in (path, *path.parents):
        try:
            status = each.stat()
        except OSError as error:
            raise GcsError(f"{each}: {error.strerror}") from None
        if status.st_uid not in (0, os.geteuid()) or status.st_mode & 0o022 & ~_sticky(status.st_mode):
            raise GcsError(f"{each}: others can write there, so nobody knows whose GCS that is")
    return path


def _sticky(mode: int) -> int:
    """Give the bits that are harmless in a folder such as /tmp, where nobody moves what is another's."""
    return 0o022 if mode & 0o1000 else 0


def find(address: str, port: int, network: Path = OWN_NETWORK) -> int:
    """Pid of our GCS of this port and address, also of one that only just starts; raises GcsError.

    `network`: the namespace in which it listens; an address is somebody else's in another one.
    """
    wanted = {f"--gcs_server_port={port}", f"--node-ip-address={address}"}
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "gcs_server" and wanted <= set(process.info["cmdline"] or ()):
            with suppress(GcsError, OSError, psutil.Error):  # anybody may call a process so
                _prove(process.pid)
                if os.path.samestat(Path(f"/proc/{process.pid}/ns/net").stat(), network.stat()):
                    return process.pid
    raise GcsError(f"no GCS of {address}:{port}, started by this user from {program()}, runs on this machine")


def _prove(pid: int) -> None:
    """See that a process is ours and runs Ray's own program. Raises GcsError."""
    if psutil.Process(pid).uids() != (os.getuid(), os.geteuid(), os.geteuid()):
        raise GcsError(f"the GCS, pid {pid}, is another user's")
    if not os.path.samestat(Path(f"/proc/{pid}/exe").stat(), program().stat()):
        raise GcsError(f"pid {pid} is not the GCS of {program()}")


def _listening(pid: int, port: int) -> Iterator[str]:
    """Give the sockets that listen on a port in a process's network, which may be another one than ours."""
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                _, local, _, state, *_, inode = line.split()[:10]
                if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                    yield f"socket:[{inode}]"


def _sockets(pid: int) -> Iterator[str]:
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            yield str(each.readlink())


def remember(path: Path, pid: int) -> None:
    """Write down how the running GCS was started, in a file for our eyes only.

    Its environment holds the cluster's token or the way to it. Raises GcsError for one that is not Ray's own
    and ours, or that can't be remembered.
    """
    try:
        remembered = _describe(psutil.Process(pid))
        _prove(pid)
        port = int(remembered.address.rpartition(":")[2])
        if not set(_listening(pid, port)) & set(_sockets(pid)):
            raise GcsError(f"the GCS, pid {pid}, does not listen on port {port}")
        private.write(path, msgspec.json.encode(remembered))
    except (psutil.Error, OSError, ValueError) as error:  # another user's process; a full disk
        raise GcsError(f"the GCS, pid {pid}, can't be remembered: {error}") from None


def _describe(process: psutil.Process) -> Remembered:
    with process.oneshot():
        command = process.cmdline()
        address = f"{_option(command, 'node-ip-address')}:{_option(command, 'gcs_server_port')}"
        return Remembered(address, command, _needed(process.environ()), process.cwd())


def _needed(environment: Mapping[str, str]) -> dict[str, str]:
    known = (name for name in environment if name in _NEEDED or name.startswith(("RAY_", "GRPC_")))
    return {name: environment[name] for name in known}


def alive(address: str, timeout: float = 1.0) -> str:
    """Ask the `host:port` for a TCP connection: `ok`, `refused`, `timeout` (after `timeout` seconds).

    Or `unknown`, where this machine could not ask.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout).close()
    except OSError as error:
        return _why_not(error)
    return "ok"


def refuses_token(address: str) -> str:
    """Have Ray's own client ask the `host:port`, with our environment; empty unless it is refused."""
    argv = [sys.executable, "-P", "-c", _ASKS, address]
    try:
        said = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            timeout=ASKS_WITHIN_S,
            check=False,
        ).stdout
    except subprocess.TimeoutExpired as late:  # it goes on asking
        said = late.stdout or b""
    if REFUSED.encode() not in said:
        return ""
    return f"{address} refuses the token: set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH, as Ray was started"


def answers(address: str, timeout: float = 1.0) -> str:
    """Ask whoever listens at `host:port` for a sign of life: `ok`, `hung`, or what `alive` says.

    A process that is stopped still accepts connections: the kernel does. A server of HTTP/2, which gRPC is,
    greets with a frame of settings (RFC 9113, 3.4); also who ends the connection, as TLS does, is there.
    """
    host, _, port = address.rpartition(":")
    ends = time.monotonic() + timeout
    try:
        with socket.create_connection((host, int(port)), timeout) as door:
            door.settimeout(max(0.01, ends - time.monotonic()))
            try:
                door.sendall(_GREETING)
                door.recv(1)
            except TimeoutError:
                return "hung"
            except OSError:
                return "ok"
    except OSError as error:
        return _why_not(error)
    return "ok"


def _why_not(error: OSError) -> str:
    """Say why there is no connection."""
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    unreachable = isinstance(error, TimeoutError) or error.errno == errno.EHOSTUNREACH
    return "timeout" if unreachable else "unknown"


def local() -> list[str]:
    """Give the `host:port` of each GCS that a process of Ray on this machine is, or belongs to."""
    found = []
    for process in psutil.process_iter(["name", "cmdline"]):
        command = process.info["cmdline"] or []
        with suppress(GcsError):
            if process.info["name"] == "gcs_server":
                found.append(f"{_option(command, 'node-ip-address')}:{_option(command, 'gcs_server_port')}")
            elif process.info["name"] == "raylet":
                found.append(_option(command, "gcs-address"))
    return list(dict.fromkeys(found))


def restart(path: Path) -> int:
    """Start the remembered GCS again unless it answers, detached from the caller; its pid. Raises GcsError.

    One that lives and does not answer is killed first, if its state is durable: else people have to look.

    Call it on the GCS's machine, in its network namespace. Its own arguments send its log to the session
    directory. What it knew comes back only from a durable store.
    """
    remembered = _recall(path)
    host, _, port = remembered.address.rpartition(":")
    known = _known(host, int(port))
    if known is not None and answers(remembered.address, HUNG_S) != "hung":
        return known.pid
    if not remembered.environment.keys() & DURABLE:
        hint = f"; it hangs: see why, or end it: kill -9 {known.pid}" if known else ""
        raise GcsError(f"this GCS kept its state in memory only: a new one would know nobody{hint}")
    if known is not None:
        _end(known)
    try:
        return subprocess.Popen(
            [str(program()), *remembered.command[1:]],
            env=_needed(remembered.environment), cwd=remembered.directory,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,
        ).pid  # fmt: skip
    except (OSError, ValueError) as error:  # such as a directory that is gone
        raise GcsError(f"the GCS does not start: {error}") from None


def _known(address: str, port: int) -> psutil.Process | None:
    """Give our GCS of this port and address, if it is there."""
    with suppress(GcsError, psutil.Error):
        return psutil.Process(find(address, port))
    return None


def _end(hung: psutil.Process) -> None:
    """Kill a GCS of ours, and wait until nobody holds its store. Raises GcsError."""
    try:
        hung.kill()
        hung.wait(_ENDS_WITHIN_S)
    except psutil.NoSuchProcess:
        pass
    except psutil.Error as error:
        raise GcsError(f"the GCS, pid {hung.pid}, hangs and does not end: {error}") from None


def _recall(path: Path) -> Remembered:
    try:
        remembered = msgspec.json.decode(private.read(path, _LONGEST), type=Remembered)
        int(remembered.address.rpartition(":")[2])
    except FileNotFoundError:
        raise GcsError(f"{path}: how to start the GCS was never remembered") from None
    except (OSError, ValueError, RecursionError) as error:
        raise GcsError(f"{path}: what was remembered of the GCS can't be read: {error}") from None
    return remembered


def _option(command: list[str], name: str) -> str:
    for argument in command:
        if argument.startswith(f"--{name}="):
            return argument.partition("=")[2]
    raise GcsError(f"the GCS was started without --{name}")
