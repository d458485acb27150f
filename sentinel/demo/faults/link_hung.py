"""The ray link is stopped, and a rank is killed: another link takes its place, and nobody dies in vain."""

import contextlib
import dataclasses
import random
import signal
import time

import psutil

from sentinel.demo.fault import Injection, Simple
from sentinel.demo.faults import rank_crash
from sentinel.demo.sandbox import Sandbox, wait
from sentinel.runtime import running
from sentinel.runtime.running import CONTROLLER

LINK = "sentinel.backends.ray.link_process"
REPLACED_S = 5.0
"""Missed after 2 s, ended and started again; looking takes its time, too."""


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """SIGSTOP the ray link, and SIGKILL a rank before anybody has missed the link, or when it is replaced."""
    old, generation = _link(sandbox), sandbox.steps()[-1]["g"]
    assert old is not None
    at = time.time()
    old.send_signal(signal.SIGSTOP)
    if chance.random() < 1 / 2:
        _replaced(sandbox, old)
    injection = rank_crash.inject(sandbox, chance)

    def verify() -> list[str]:
        _replaced(sandbox, old)
        formed = sandbox.steps()[-1]["g"] - generation
        return [] if formed == 1 else [f"{formed} generations were formed, expected 1"]

    return dataclasses.replace(injection, at=at, verify=verify)


def _replaced(sandbox: Sandbox, old: psutil.Process) -> None:
    """Wait until a stopped link is gone and another one is there. Raises SandboxError."""

    def replaced() -> bool:
        new = _link(sandbox)
        return new is not None and new.pid != old.pid and not old.is_running()

    wait("the ray link is replaced", REPLACED_S, replaced)


def _link(sandbox: Sandbox) -> psutil.Process | None:
    controller = running.find(sandbox.state_dir / "controller.pid", CONTROLLER)
    assert controller is not None
    children = psutil.Process(controller.pid).children()
    return next((each for each in children if LINK in _command(each)), None)


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


FAULT = Simple(
    "link-hung",
    dataclasses.replace(rank_crash.FAULT.expected, beside=frozenset({"ray-link-lost"})),
    inject,
)
