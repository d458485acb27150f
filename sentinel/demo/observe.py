"""What came out of a fault, read from the logbook, the trainer's log and the pages that arrived."""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx

from sentinel.demo.fault import Expected, Fault, Injection, Place, ranks
from sentinel.demo.stage import Stage, StageError, wait
from sentinel.model.ids import Instant, Seconds
from sentinel.model.policy import Policy

BEYOND = 20
"""Steps after the recovery whose losses are compared."""
QUIET_S = Policy().correlate_s + 1.0
"""After an incident a stronger cause may still join it; the next fault waits until that is past."""
WHOLE_S = 120.0
RECORDED_S = 10.0
"""Recordings are written after the rush, a fifth of a second behind the logbook."""


@dataclass
class Result:
    """One run of one fault; null where something did not happen."""

    fault: str
    seed: int
    skipped: str | None = None
    injected_at: Instant | None = None
    detected_s: Seconds | None = None
    diagnosed_s: Seconds | None = None
    paged_s: Seconds | None = None
    evicted_s: Seconds | None = None
    new_step_s: Seconds | None = None
    steps_lost: int | None = None
    cause: str | None = None
    blamed: Place | None = None
    truth: Place | None = None
    evicted: list[str] = field(default_factory=list)
    pages: int | None = None
    incidents: int | None = None
    beside: list[str] = field(default_factory=list)
    """Causes of the other incidents."""
    survivors_kept: list[int] | None = None
    losses_equal: bool | None = None
    wrong: list[str] = field(default_factory=list)
    """What did not come out as it must; empty when all did."""

    def to_plain(self) -> dict[str, Any]:
        """Give the JSON form."""
        return asdict(self)


@dataclass
class Before:
    """How things stood before the injection."""

    generation: int
    step: int
    pids: dict[int, int]
    """Rank → pid."""
    incidents: set[str]
    pages: int

    @classmethod
    def look(cls, stage: Stage, *, fresh: bool = False) -> "Before":
        """Take it all down. On a `fresh` stage what its start brought counts as brought by the fault."""
        last = stage.steps()[-1]
        pids = {victim.rank: victim.pid for victim in ranks(stage)}
        known = set() if fresh else {row["incident"] for row in rows(stage)}
        return cls(last["g"], last["step"], pids, known, 0 if fresh else len(messages(stage)))


def rows(stage: Stage) -> list[dict[str, Any]]:
    """Return the logbook's rows that name a cause, newest first."""
    try:
        found: list[dict[str, Any]] = httpx.get(f"{stage.url}/api/incidents", timeout=5.0).json()["logbook"]
    except (httpx.HTTPError, ValueError):
        return []
    return [row for row in found if row["cause"]]


def settle(stage: Stage) -> None:
    """Wait until all incidents are past and every rank and standby is there. Raises StageError."""

    def settled() -> bool:
        resolved = (row["opened"] + row["times"].get("resolved", 1e9) for row in rows(stage))
        return stage.ready() and max(resolved, default=0.0) < time.time() - QUIET_S

    wait("the cluster is whole again", WHOLE_S, settled, 0.2)


def repaired(stage: Stage, generation: int) -> None:
    """Wait until a later generation than this trains, and all is whole again. Raises StageError."""
    wait("a new generation", WHOLE_S, lambda: stage.steps()[-1]["g"] > generation)
    settle(stage)


def messages(stage: Stage) -> list[dict[str, Any]]:
    """Return the messages opened in the on-call channels, as the Slack server has them."""
    if not stage.slack_url:
        return []
    found = httpx.get(f"{stage.slack_url}/messages", timeout=5.0).json()
    return [message for message in found if not message.get("thread_ts")]


def payload(message: dict[str, Any]) -> dict[str, Any]:
    """Return what a message says of itself: its incident and revision."""
    found: dict[str, Any] = message["metadata"]["event_payload"]
    return found


def new_steps(stage: Stage, before: Before, injection: Injection) -> list[dict[str, Any]]:
    """Return the steps completed first since the injection, by who recovered if anybody had to."""
    log = stage.steps()
    high = max((line["step"] for line in log if line["g"] <= before.generation), default=-1)
    if not injection.dead and not injection.halts:
        return [line for line in log if line["at"] > injection.at and line["step"] > before.step]
    return [line for line in log if line["g"] > before.generation and line["step"] > high]


def settled_steps(stage: Stage, before: Before, injection: Injection) -> list[dict[str, Any]]:
    """Return the new steps of the newest generation: it may be the last of several."""
    steps = new_steps(stage, before, injection)
    return [line for line in steps if line["g"] == steps[-1]["g"]]


def observe(stage: Stage, fault: Fault, seed: int, before: Before, injection: Injection) -> Result:
    """Wait until it is over, then say what came out."""
    expected = injection.expected or fault.expected
    result = Result(fault.name, seed, injected_at=injection.at, truth=injection.truth)
    try:
        if injection.passes is not None:
            wait(f"{fault.name}: paged", expected.within_s, lambda: _paged(stage, before, expected), 0.1)
            injection.passes()
        wait(f"{fault.name}: over", expected.within_s, lambda: _over(stage, before, injection, expected), 0.1)
        wait(f"{fault.name}: recorded", RECORDED_S, lambda: not _unrecorded(stage, before), 0.1)
    except StageError as error:
        result.wrong.append(str(error))
    _read_incident(stage, before, injection, expected, result)
    _read_steps(stage, before, injection, result)
    result.pages = _pages(stage, before)
    result.wrong += _judge(expected, injection, result)
    try:
        result.wrong += injection.verify()
    except StageError as error:
        result.wrong.append(str(error))
    return result


def _paged(stage: Stage, before: Before, expected: Expected) -> bool:
    """Say whether the cause is known and as many pages as are due have arrived."""
    causes = {row["cause"] for row in rows(stage) if row["incident"] not in before.incidents}
    known = not expected.causes or (causes & expected.causes and causes >= expected.beside)
    return bool(known) and _pages(stage, before) >= expected.pages[0]


def _over(stage: Stage, before: Before, injection: Injection, expected: Expected) -> bool:
    fresh = [row for row in rows(stage) if row["incident"] not in before.incidents]
    if not _paged(stage, before, expected):
        return False
    resolved = all(row["stage"] == "resolved" for row in fresh) or not expected.resumes
    evicted = not expected.evicts or any(row["evicted"] for row in fresh)
    beyond = not expected.resumes or len(settled_steps(stage, before, injection)) > BEYOND
    return resolved and evicted and beyond


def _unrecorded(stage: Stage, before: Before) -> set[str]:
    """Return the incidents since that are over and have no recording yet."""
    over = {row["incident"] for row in rows(stage) if row["stage"] == "resolved"} - before.incidents
    return over - {path.stem for path in (stage.state_dir / "recordings").glob("*.jsonl")}


def _read_incident(
    stage: Stage, before: Before, injection: Injection, expected: Expected, result: Result
) -> None:
    fresh = [row for row in rows(stage) if row["incident"] not in before.incidents]
    result.incidents = len(fresh)
    result.evicted = sorted({node for row in fresh for node in row["evicted"]})
    if not fresh:
        return
    row = next((row for row in reversed(fresh) if row["cause"] in expected.causes), fresh[-1])
    result.beside = sorted(other["cause"] for other in fresh if other is not row)
    result.cause = row["cause"]
    if row["suspects"]:
        result.blamed = Place(*row["suspects"][0])
    for name in ("detected", "diagnosed", "paged", "evicted"):
        if name in row["times"]:
            setattr(result, f"{name}_s", round(row["opened"] + row["times"][name] - injection.at, 3))


def _read_steps(stage: Stage, before: Before, injection: Injection, result: Result) -> None:
    fresh = new_steps(stage, before, injection)
    if fresh:
        result.new_step_s = round(fresh[0]["at"] - injection.at, 3)
    log = stage.steps()
    high = max((line["step"] for line in log if line["g"] <= before.generation), default=-1)
    result.steps_lost = sum(1 for line in log if line["g"] > before.generation and line["step"] <= high)
    now = {victim.pid for victim in ranks(stage)}
    result.survivors_kept = sorted(pid for pid in before.pids.values() if pid in now)


def _pages(stage: Stage, before: Before) -> int:
    """Count the messages opened since, but for late copies of what was known before, in the other channel."""
    opened = messages(stage)[before.pages :]
    return sum(payload(message)["incident"] not in before.incidents for message in opened)


def _judge(expected: Expected, injection: Injection, result: Result) -> list[str]:
    """Compare with what must come out."""
    wrong = []
    if expected.causes and result.cause not in expected.causes:
        wrong.append(f"cause {result.cause}, expected {' or '.join(sorted(expected.causes))}")
    if not expected.causes and result.incidents:
        wrong.append(f"{result.incidents} incidents, expected none: {result.cause}")
    if expected.causes and result.beside != sorted(expected.beside):
        besides = ", ".join(sorted(expected.beside)) or "nothing"
        wrong.append(f"beside {result.cause} came {result.beside}, expected {besides}")
    least, most = expected.pages
    if result.pages is not None and not least <= result.pages <= most:
        wrong.append(f"{result.pages} pages, expected {least} to {most}")
    should = [injection.truth.node] if expected.evicts else []
    if result.evicted != should:
        wrong.append(f"evicted {result.evicted}, expected {should}")
    placeless = injection.truth == Place()
    right = result.blamed is None if placeless else result.blamed and result.blamed.within(injection.truth)
    if expected.causes and expected.blames and not right:
        wrong.append(f"blamed {result.blamed}, the truth is {injection.truth}")
    if expected.resumes and result.new_step_s is None:
        wrong.append("no new step")
    if (result.steps_lost or 0) > expected.steps_lost:
        wrong.append(f"{result.steps_lost} steps lost, at most {expected.steps_lost} allowed")
    return wrong
