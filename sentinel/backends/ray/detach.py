"""Starting a process that outlives whoever started it: a session of its own, adopted by init."""

import os
import time
from pathlib import Path
from typing import NoReturn

from sentinel import private
from sentinel.adapters import agent_card
from sentinel.heartbeat.process import state_and_start
from sentinel.model.ids import Seconds

NOT_RUN = 127
"""What a shell says of a command that can't be run."""
LOOK_EVERY_S: Seconds = 0.05
ENDED = ("", "X", "Z")
"""States of a process that is gone, or that nobody has buried yet."""
KEPT = 3
"""The one open file that is kept until the program runs, and closed by that: it tells what goes wrong."""


def launch_detached(argv: list[str], env: dict[str, str]) -> int:
    """Start a program; returns its pid once it runs. Raises OSError that says why it does not."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _become(writer, argv, env)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader, errors="replace") as pipe:  # ends when the program runs, or with why it does not
        pid, _, failed = pipe.read().partition("\n")
    if failed or not pid:
        raise OSError(f"{argv[0]} does not run: {failed or 'no process could be made'}")
    return int(pid)


def launch_until_up(argv: list[str], env: dict[str, str], within_s: Seconds) -> int:
    """Start an agent; returns its pid once it is up, or if it lives and is only slow by then.

    Raises OSError that says why it does not run, or that it ended as it started.
    """
    pid, give_up = launch_detached(argv, env), time.monotonic() + within_s
    memory = Path({**env, **os.environ}["SENTINEL_MEMORY"])
    while time.monotonic() < give_up and not ((last := agent_card.read(memory)) and last.pid == pid):
        if state_and_start(pid)[0] in ENDED:
            raise OSError(f"the agent, process {pid}, ended as it started: its log says why")
        time.sleep(LOOK_EVERY_S)
    return pid


def _become(writer: int, argv: list[str], env: dict[str, str]) -> NoReturn:
    """Fork once more, so that init is the program's parent; tell the pid, leave no open file, run it.

    This is a copy of a Ray worker: whatever goes wrong, it must not go on as one.
    """
    try:
        os.setsid()
        if not os.fork():
            _run(writer, argv, env)
    finally:
        os._exit(NOT_RUN)


def _run(writer: int, argv: list[str], env: dict[str, str]) -> None:
    """Run the program with a log as its output. What the node's own environment says goes before `env`."""
    try:
        os.write(writer, f"{os.getpid()}\n".encode())
        if writer != KEPT:
            writer = os.dup2(writer, KEPT, inheritable=False)
        os.closerange(KEPT + 1, 4096)
        env = {**env, **os.environ}
        os.umask(private.UMASK)
        log = _log(env)
        os.dup2(os.open(os.devnull, os.O_RDWR), 0)
        os.dup2(log, 1)
        os.dup2(1, 2)
        os.execve(argv[0], argv, env)  # noqa: S606 - our own program, no shell
    except BaseException as error:
        os.write(writer, f"{type(error).__name__}: {error}".encode(errors="replace")[:500])
        raise


def _log(env: dict[str, str]) -> int:
    """Open the log: in the node's memory directory, which is ours alone, or where its operator says."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    if not (chosen := env.get("SENTINEL_AGENT_LOG")):
        return private.open_file(private.make_memory(Path(env["SENTINEL_MEMORY"])) / "agent.log", flags)
    Path(chosen).parent.mkdir(parents=True, exist_ok=True)
    return os.open(chosen, flags | os.O_NOFOLLOW | os.O_NONBLOCK, private.FILE_MODE)
