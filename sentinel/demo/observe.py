"""What came out of a fault, read from the logbook, the trainer's log and the pages that arrived."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from sentinel.demo.fault import Expected, Fault, Injection, Place, Victim, ranks
from sentinel.demo.judge import judge
from sentinel.demo.pace import pace
from sentinel.demo.result import Result, Seen
from sentinel.demo.sandbox import Sandbox, SandboxError, wait
from sentinel.model.policy import Policy

BEYOND = 20
"""Steps after the recovery whose losses are compared."""
QUIET_S = Policy().correlate_s + 1.0
"""After an incident a stronger cause may still join it; the next fault waits until that is past."""
WHOLE_S = 120.0
RECORDED_S = 10.0
"""Recordings are written after the rush, a fifth of a second behind the logbook."""


@dataclass
class Before:
    """How things stood before the injection."""

    generation: int
    step: int
    ranks: Sequence[Victim]
    """Who trained."""
    incidents: set[str]
    pages: int

    @classmethod
    def look(cls, sandbox: Sandbox, *, fresh: bool = False) -> "Before":
        """Take it all down. On a `fresh` stage what its start brought counts as brought by the fault."""
        last = sandbox.steps()[-1]
        known = set() if fresh else {row["incident"] for row in rows(sandbox)}
        return cls(last["g"], last["step"], ranks(sandbox), known, 0 if fresh else len(messages(sandbox)))


def rows(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Return the logbook's rows that name a cause, newest first."""
    try:
        found: list[dict[str, Any]] = sandbox.http.get(f"{sandbox.url}/api/incidents").json()["logbook"]
    except (httpx.HTTPError, ValueError):
        return []
    return [row for row in found if row["cause"]]


def reporting(sandbox: Sandbox) -> list[str]:
    """Name all nodes once each is heard: whoever takes one back looks first whether it is there."""
    nodes = (sandbox.status() or {}).get("nodes", [])
    return [] if any(node["silent"] for node in nodes) else [node["node"] for node in nodes]


def settle(sandbox: Sandbox) -> None:
    """Wait until all incidents are past and every rank and standby is there. Raises SandboxError."""

    def settled() -> bool:
        resolved = (row["opened"] + row["times"].get("resolved", 1e9) for row in rows(sandbox))
        return sandbox.ready() and max(resolved, default=0.0) < time.time() - QUIET_S

    wait("the cluster is whole again", WHOLE_S, settled, 0.2)


def repaired(sandbox: Sandbox, generation: int) -> None:
    """Wait until a later generation than this trains, and all is whole again. Raises SandboxError."""
    wait("a new generation", WHOLE_S, lambda: sandbox.steps()[-1]["g"] > generation)
    settle(sandbox)


def messages(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Return the messages opened in the on-call channels, as the Slack server has them."""
    if not sandbox.slack_url:
        return []
    found = sandbox.http.get(f"{sandbox.slack_url}/messages").json()
    return [message for message in found if not message.get("thread_ts")]


def payload(message: dict[str, Any]) -> dict[str, Any]:
    """Return what a message says of itself: its incident and revision."""
    found: dict[str, Any] = message["metadata"]["event_payload"]
    return found


def new_steps(sandbox: Sandbox, before: Before, injection: Injection) -> list[dict[str, Any]]:
    """Return the steps completed first since the injection, by who recovered if anybody had to."""
    log = sandbox.steps()
    high = max((line["step"] for line in log if line["g"] <= before.generation), default=-1)
    if not injection.dead and not injection.halts:
        return [line for line in log if line["at"] > injection.at and line["step"] > before.step]
    return [line for line in log if line["g"] > before.generation and line["step"] > high]


def settled_steps(sandbox: Sandbox, before: Before, injection: Injection) -> list[dict[str, Any]]:
    """Return the new steps of the newest generation: it may be the last of several."""
    steps = new_steps(sandbox, before, injection)
    return [line for line in steps if line["g"] == steps[-1]["g"]]


def observe(sandbox: Sandbox, fault: Fault, seed: int, before: Before, injection: Injection) -> Result:
    """Wait until it is over, then say what came out."""
    expected = injection.expected or fault.expected
    result = Result(fault.name, seed, injected_at=injection.at, truth=injection.truth)
    try:
        if injection.passes is not None:
            wait(f"{fault.name}: paged", expected.within_s, lambda: _paged(sandbox, before, expected), 0.1)
            injection.passes()
        wait(
            f"{fault.name}: over", expected.within_s, lambda: _over(sandbox, before, injection, expected), 0.1
        )
        wait(f"{fault.name}: recorded", RECORDED_S, lambda: not _unrecorded(sandbox, before, expected), 0.1)
    except SandboxError as error:
        result.wrong.append(str(error))
    suspects = _read_incident(sandbox, before, injection, expected, result)
    _read_steps(sandbox, before, injection, result)
    if expected.advances:
        result.pace = pace(sandbox.steps(), injection.at, time.time())
    now = ranks(sandbox)
    result.world = len(now)
    result.survivors_kept = sorted({v.pid for v in before.ranks} & {v.pid for v in now})
    result.pages = _pages(sandbox, before)
    judge(expected, injection, Seen(before.ranks, now, suspects), result)
    try:
        result.wrong += injection.verify()
    except SandboxError as error:
        result.wrong.append(str(error))
    return result


def _paged(sandbox: Sandbox, before: Before, expected: Expected) -> bool:
    """Say whether the cause is known and as many pages as are due have arrived."""
    causes = {row["cause"] for row in rows(sandbox) if row["incident"] not in before.incidents}
    known = not expected.causes or (causes & expected.causes and causes >= expected.beside)
    return bool(known) and _pages(sandbox, before) >= expected.pages[0]


def _over(sandbox: Sandbox, before: Before, injection: Injection, expected: Expected) -> bool:
    fresh = [row for row in rows(sandbox) if row["incident"] not in before.incidents]
    if not _paged(sandbox, before, expected):
        return False
    resolved = all(row["stage"] == "resolved" for row in fresh) or not expected.resumes
    evicted = not expected.evicts or any(row["evicted"] for row in fresh)
    beyond = not expected.resumes or len(settled_steps(sandbox, before, injection)) > BEYOND
    return resolved and evicted and beyond


def _unrecorded(sandbox: Sandbox, before: Before, expected: Expected) -> set[str]:
    """Return the incidents since that are over, or have stopped the job, and have no recording yet."""
    over = {row["incident"] for row in rows(sandbox) if row["stage"] == "resolved" or not expected.resumes}
    return (
        over - before.incidents - {path.stem for path in (sandbox.state_dir / "recordings").glob("*.jsonl")}
    )


def _read_incident(
    sandbox: Sandbox, before: Before, injection: Injection, expected: Expected, result: Result
) -> list[list[Place]]:
    """Fill in what the logbook tells of the incident; returns each new incident's suspects."""
    fresh = [row for row in rows(sandbox) if row["incident"] not in before.incidents]
    result.incidents = len(fresh)
    result.evicted = sorted({node for row in fresh for node in row["evicted"]})
    if not fresh:
        return []
    row = next((row for row in reversed(fresh) if row["cause"] in expected.causes), fresh[-1])
    result.beside = sorted(other["cause"] for other in fresh if other is not row)
    result.cause = row["cause"]
    result.suspects = _suspects(row)
    result.blamed = result.suspects[0] if result.suspects else None
    for name in ("detected", "diagnosed", "paged", "evicted"):
        if name in row["times"]:
            setattr(result, f"{name}_s", round(row["opened"] + row["times"][name] - injection.at, 3))
    return [_suspects(each) for each in fresh]


def _suspects(row: dict[str, Any]) -> list[Place]:
    return [Place(*suspect) for suspect in row["suspects"]]


def _read_steps(sandbox: Sandbox, before: Before, injection: Injection, result: Result) -> None:
    fresh = new_steps(sandbox, before, injection)
    if fresh:
        result.new_step_s = round(fresh[0]["at"] - injection.at, 3)
    result.steps_lost = steps_lost(sandbox.steps(), before.generation)


def steps_lost(log: Sequence[dict[str, Any]], generation: int) -> int:
    """Count the steps trained again after this generation: completed before, and then once more."""
    high, lost = -1, 0
    for line in log:
        lost += line["g"] > generation and line["step"] <= high
        high = max(high, line["step"])
    return lost


def _pages(sandbox: Sandbox, before: Before) -> int:
    """Count the messages opened since, but for late copies of what was known before, in the other channel."""
    opened = messages(sandbox)[before.pages :]
    return sum(payload(message)["incident"] not in before.incidents for message in opened)
