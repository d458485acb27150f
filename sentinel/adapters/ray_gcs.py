"""Bring a killed Ray GCS back: its command line is remembered while it lives and started again."""

import errno
import json
import os
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

DURABLE = frozenset({"RAY_gcs_storage", "RAY_REDIS_ADDRESS"})
"""One of these is set when the GCS keeps its state outside its memory."""


class GcsError(RuntimeError):
    """The GCS was not found, or cannot be started again; the message says why."""


def find(address: str, port: int) -> int:
    """Pid of the GCS that serves `port` at `address`; raises GcsError."""
    wanted = {f"--gcs_server_port={port}", f"--node-ip-address={address}"}
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "gcs_server" and wanted <= set(process.info["cmdline"] or ()):
            return process.pid
    raise GcsError(f"no GCS of {address}:{port} runs on this machine")


def remember(path: Path, pid: int) -> None:
    """Write command line, environment and directory of the running GCS to a file of mode 0600.

    The environment holds the cluster's token or the way to it, hence the mode. Raises GcsError.
    """
    try:
        _write(path, _describe(psutil.Process(pid)))
    except (psutil.Error, OSError) as error:  # another user's process; a full disk
        raise GcsError(f"the GCS, pid {pid}, can't be remembered: {error}") from None


def _describe(process: psutil.Process) -> dict[str, Any]:
    with process.oneshot():
        command, address = process.cmdline(), _option(process.cmdline(), "node-ip-address")
        return {
            "address": f"{address}:{_option(command, 'gcs_server_port')}",
            "command": command,
            "environment": process.environ(),
            "directory": process.cwd(),
        }


def _write(path: Path, content: dict[str, Any]) -> None:
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(content, file)
    draft.replace(path)


def alive(address: str, timeout: float = 1.0) -> str:
    """Ask the `host:port` for a TCP connection: `ok`, `refused`, `timeout` (after `timeout` seconds).

    Or `unknown`, where this machine could not ask.
    """
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout).close()
    except ConnectionRefusedError:
        return "refused"
    except OSError as error:
        unreachable = isinstance(error, TimeoutError) or error.errno == errno.EHOSTUNREACH
        return "timeout" if unreachable else "unknown"
    return "ok"


def restart(path: Path, enter: Sequence[str] = ()) -> int:
    """Start the remembered GCS again unless it lives, detached from the caller; its pid. Raises GcsError.

    Call it on the GCS's machine; `enter` is a command prefix that enters its network namespace. Its own
    arguments send its log to the session directory. What it knew comes back only from a durable store.
    """
    remembered = json.loads(path.read_text())
    host, _, port = str(remembered["address"]).rpartition(":")
    with suppress(GcsError):
        return find(host, int(port))
    if not remembered["environment"].keys() & DURABLE:
        raise GcsError("this GCS kept its state in memory only: a new one would know nobody")
    return subprocess.Popen(
        [*enter, *remembered["command"]], env=remembered["environment"], cwd=remembered["directory"],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    ).pid  # fmt: skip


def _option(command: list[str], name: str) -> str:
    for argument in command:
        if argument.startswith(f"--{name}="):
            return argument.partition("=")[2]
    raise GcsError(f"the GCS was started without --{name}")
