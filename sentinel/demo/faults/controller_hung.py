"""The controller is stopped: another one takes its place; or it goes on by itself, and accuses nobody."""

import dataclasses
import random
import signal
import time
from collections.abc import Callable

from sentinel.demo.fault import NOBODY, Expected, Injection, Place, Simple
from sentinel.demo.faults import rank_crash
from sentinel.demo.sandbox import Sandbox, wait
from sentinel.runtime import running
from sentinel.runtime.running import CONTROLLER, Running

REPLACED_S = 15.0
PAUSED_S = 5.0
"""Longer than a node may be silent, and shorter than a controller may."""
QUIET_S = 15.0
"""After a pause: longer than what was missed would take to be seen."""
BROKEN = dataclasses.replace(rank_crash.FAULT.expected, within_s=90.0)
PAUSED = Expected(frozenset(), pages=(0, 0), names=NOBODY, steps_lost=0, advances=True)


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """SIGSTOP the controller: for good, and a rank dies meanwhile; or for a while."""
    controller = _controller(sandbox)
    at = time.time()
    controller.send(signal.SIGSTOP)
    return _for_good(sandbox, chance, controller) if chance.random() < 1 / 2 else _paused(controller, at)


def _for_good(sandbox: Sandbox, chance: random.Random, controller: Running) -> Injection:
    """Let a rank die while nobody is there to see it; earlier, its peers' lease would lapse first."""
    wait("the controller is ended", REPLACED_S, lambda: not controller.alive)
    return dataclasses.replace(rank_crash.inject(sandbox, chance), expected=BROKEN)


def _paused(controller: Running, at: float) -> Injection:
    _let_pass(lambda: time.time() > at + PAUSED_S)
    controller.send(signal.SIGCONT)
    goes_on = time.time()

    def verify() -> list[str]:
        _let_pass(lambda: time.time() > goes_on + QUIET_S)
        return [] if controller.alive else ["the controller was replaced though it answered in time"]

    return Injection(at, Place(), verify=verify, expected=PAUSED)


def _let_pass(condition: Callable[[], bool]) -> None:
    wait("time passes", PAUSED_S + QUIET_S, condition)


def _controller(sandbox: Sandbox) -> Running:
    found = running.find(sandbox.state_dir / "controller.pid", CONTROLLER)
    assert found is not None
    return found


FAULT = Simple("controller-hung", BROKEN, inject)
