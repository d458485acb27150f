"""Ray's own process on a node, without which nothing of Ray runs there: whether it is dead."""

from collections.abc import Iterator

from sentinel.model.check import Check, Machine, Raylet
from sentinel.model.finding import NODE, Finding, Health

REGISTERED_S = 10.0
"""The GCS does not know a raylet that has only just started: no worker would start there."""


def measure(machine: Machine) -> Raylet | None:
    """Give what the agent saw of it."""
    return machine.raylet


def judge(raylet: Raylet | None) -> Iterator[Finding]:
    """One finding where there was a raylet and is none, or only just one again."""
    if raylet is None or (raylet.pid and (raylet.is_first or raylet.up_s >= REGISTERED_S)):
        return
    said = "Ray's raylet on this node has died, and all ranks and standbys with it: start Ray on it again"
    yield Finding("raylet", "raylet-dead", NODE, Health.CRITICAL, said)


CHECK = Check(
    "raylet",
    every=1.0,
    deadline=1.0,
    measure=measure,
    judge=judge,
    causes=("raylet-dead",),
    on_exit=True,
    in_agent=True,
)
