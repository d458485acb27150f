"""A scenario: the cluster, what happens on it step by step, and what is expected to come out."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from sentinel.model.policy import Policy
from sentinel.rehearse.steps import Step

SEAT = re.compile(r"rank(\d{1,6})")
"""In the place of a node: where this rank sat when the scenario began."""


class ScenarioError(ValueError):
    """A file is no scenario; one line says which file, where in it, and what is expected."""


class Cluster(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The virtual cluster; any node without a rank is a spare with a warm standby."""

    nodes: int = 4
    gpus: int = 1
    """Of each node."""
    world: int = 2
    standbys: int = 1
    """Warm ones that each node keeps."""
    min_world: int = 1
    step_s: float = 0.25
    watched: bool = False
    """Somebody else starts the job's ranks, and no standbys."""
    restart_command: bool = False
    """A command starts them again; without one, people do."""
    topology: dict[str, dict[str, str]] = {}
    """Where nodes are, in the form of the controller's file: name patterns → labels."""


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must come out; what is not named is not looked at."""

    causes: list[str] | None = None
    """Exactly these diagnoses, in any order."""
    evicted: bool | None = None
    """Whether any node is."""
    evicted_has: str | None = None
    """This node is among them."""
    evictions: list[str] | None = None
    """Exactly these nodes, in any order."""
    suspects: list[str] | None = None
    """Exactly these places, in any order: `n1`, `n1 gpu-0`, `rank 1`, `n1 gpu-0 (rank 1)`."""
    stopped: bool | None = None
    """Whether any job is."""
    pages: int | None = None
    """Messages that were opened."""
    resumes: int | None = None
    """Generations that were formed."""
    restarts: int | None = None
    """How often the command of a watched job was run."""
    shared: list[str] | None = None
    """Exactly what the suspects of each incident share, where they do: `rack r1`, or `cluster`."""
    trains: bool | None = None
    """Whether the job trains at the end."""
    seconds_max: float | None = None
    """Seconds of a processor that the whole may take, whatever else the machine does."""


class Scenario(msgspec.Struct, frozen=True):
    """One scenario, validated."""

    id: str
    title: str
    cluster: Cluster
    steps: tuple[Step, ...]
    expect: Expect
    policy: dict[str, Any] = {}
    """Numbers of the policy that it is about."""
    source: str = ""
    right: str = ""
    """What a good judge would do, in words."""
    waits_for: str = ""
    """What it takes to come out right, where that is known not to be there yet."""

    def policy_on(self, policy: Policy) -> Policy:
        """Give a policy with this scenario's numbers in it."""
        return changed(policy, self.policy)


def changed(policy: Policy, numbers: Mapping[str, Any]) -> Policy:
    """Give a policy with some of its numbers changed. Raises ScenarioError."""
    known(numbers, Policy, "policy")
    try:
        return msgspec.convert({**msgspec.to_builtins(policy), **numbers}, Policy)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"policy: {error}") from None


def known(given: Mapping[str, Any], noun: type, where: str) -> None:
    """Refuse a key that is no field of the noun. Raises ScenarioError."""
    for key in given:
        if key not in _names(noun):
            raise ScenarioError(
                f"{where}: unknown key {key!r}; allowed are {', '.join(sorted(_names(noun)))}"
            )


@cache
def _names(noun: type) -> frozenset[str]:
    fields = msgspec.inspect.type_info(noun).fields  # type: ignore[attr-defined]
    return frozenset(field.name for field in fields)
