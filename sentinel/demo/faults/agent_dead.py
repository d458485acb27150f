"""One node's agent is killed: it is started again, and takes over what the node's ranks and peers left it."""

import os
import random
import signal
import time

from sentinel.adapters.agent_card import Card, read
from sentinel.demo.fault import NODE, Expected, Injection, Place, Simple
from sentinel.demo.hosts import Host
from sentinel.demo.sandbox import Sandbox, wait

TAKES_OVER_S = 15.0


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """SIGKILL the agent of one node with a rank."""
    job = sandbox.job()
    assert job is not None
    host = sandbox.host_of(chance.choice(job["seats"])["node"])
    old = _card(host)
    time.sleep(chance.uniform(0.0, 0.3))
    at = time.time()
    os.kill(old.pid, signal.SIGKILL)
    return Injection(at, Place(host.name), verify=lambda: _taken_over(sandbox, host, old))


def _taken_over(sandbox: Sandbox, host: Host, old: Card) -> list[str]:
    """Say what the new agent does not do: other pid, same snapshot port, beats and snapshots that advance."""
    new = _card(host)
    wrong = [] if new.pid != old.pid else [f"no new agent on {host.name}"]
    if new.snapshot_port != old.snapshot_port:
        wrong.append(f"snapshots of peers don't find the new agent of {host.name}")
    from_here = _beats(sandbox, host)
    wait("snapshots are complete again", TAKES_OVER_S, lambda: _complete(sandbox) > from_here)
    wait(f"beats of {host.name}", TAKES_OVER_S, lambda: _beats(sandbox, host) > from_here)
    return wrong


def _card(host: Host) -> Card:
    card = read(host.memory)
    assert card is not None
    return card


def _beats(sandbox: Sandbox, host: Host) -> int:
    """Newest step that the controller knows of this node's ranks."""
    seats = (sandbox.job() or {}).get("seats", ())
    return max((seat["step"] for seat in seats if seat["node"] == host.name), default=-1)


def _complete(sandbox: Sandbox) -> int:
    """Newest step with all own and peer copies acknowledged, as the ranks themselves say."""
    return int((sandbox.job() or {}).get("snapshot_step", -1))


FAULT = Simple(
    "agent-dead",
    Expected(frozenset({"agent-dead"}), pages=(0, 0), names=NODE, steps_lost=0, advances=True),
    inject,
)
