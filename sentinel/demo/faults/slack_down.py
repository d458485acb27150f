"""Slack is busy, broken or silent while a rank dies, and once takes a message without saying so."""

import dataclasses
import random
from collections import Counter
from typing import Any

from sentinel.demo.fault import Injection, Simple
from sentinel.demo.faults import rank_crash
from sentinel.demo.observe import payload, rows
from sentinel.demo.sandbox import BACKUP, ON_CALL, Sandbox, wait

FALLS_BACK_S = 40.0
"""Each channel is given up after `sandbox.FALLBACK_AFTER_S`; a silent server holds a call for 5 s."""
ARRIVES_S = 60.0
DOWN: tuple[dict[str, Any], ...] = ({"mode": "429", "retry_after": 2.0}, {"mode": "500"}, {"mode": "silent"})
DROPS_A_REPLY = {"mode": "drop-reply", "times": 1}


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Make Slack misbehave, then kill a rank; one reply is dropped before or after Slack is down."""
    before = {row["incident"] for row in rows(sandbox)}
    down = chance.choice(DOWN)
    drops_first = chance.random() < 1 / 2
    _control(sandbox, [DROPS_A_REPLY, down] if drops_first else [down])
    injection = rank_crash.inject(sandbox, chance)
    injection.passes = lambda: _falls_back(sandbox, before, [] if drops_first else [DROPS_A_REPLY])
    injection.verify = lambda: _arrives(sandbox, before)
    return injection


def _control(sandbox: Sandbox, script: list[dict[str, Any]]) -> None:
    sandbox.http.post(f"{sandbox.slack_url}/control", json=script).raise_for_status()


def _falls_back(sandbox: Sandbox, before: set[str], then: list[dict[str, Any]]) -> None:
    """Keep Slack down until the fallback has what on-call can't be told, then let it go."""

    def has_it() -> bool:
        fresh = _fresh(sandbox, before)
        return bool(fresh) and fresh <= _on_backup(sandbox) | _on_console(sandbox, fresh)

    wait("the fallback has it", FALLS_BACK_S, has_it)
    _control(sandbox, then)


def _arrives(sandbox: Sandbox, before: set[str]) -> list[str]:
    """Say what on-call was told twice or in disorder, once it has all of it."""
    wait("every page arrives", ARRIVES_S, lambda: _fresh(sandbox, before) <= _finished(sandbox), 0.2)
    return _disorder(sandbox)


def _fresh(sandbox: Sandbox, before: set[str]) -> set[str]:
    return {row["incident"] for row in rows(sandbox)} - before


def _all(sandbox: Sandbox) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = sandbox.http.get(f"{sandbox.slack_url}/messages").json()
    return found


def _on_backup(sandbox: Sandbox) -> set[str]:
    return {payload(m)["incident"] for m in _all(sandbox) if m["channel"] == BACKUP}


def _on_console(sandbox: Sandbox, incidents: set[str]) -> set[str]:
    log = sandbox.state_dir / "pages.log"
    text = log.read_text() if log.exists() else ""
    return {incident for incident in incidents if incident in text}


def _finished(sandbox: Sandbox) -> set[str]:
    """Return the incidents whose message in the on-call channel shows their end."""
    opened = [m for m in _all(sandbox) if m["channel"] == ON_CALL and not m["thread_ts"]]
    return {payload(m)["incident"] for m in opened if "resolved" in m["text"].lower()}


def _disorder(sandbox: Sandbox) -> list[str]:
    """Say which incident was told twice, or in the wrong order, in one channel."""
    wrong = []
    opened = [m for m in _all(sandbox) if not m["thread_ts"]]
    replies = [m for m in _all(sandbox) if m["thread_ts"]]
    seen = Counter((m["channel"], payload(m)["incident"]) for m in opened)
    details = Counter((m["channel"], f"details {payload(m)}") for m in replies)
    twice = [what for what, times in (*seen.items(), *details.items()) if times > 1]
    wrong += [f"{channel} has {what} more than once" for channel, what in twice]
    for message in opened:
        revisions = [payload(edit)["revision"] for edit in message["edits"]]
        if revisions != sorted(revisions):
            wrong.append(f"{payload(message)['incident']} went through revisions {revisions}")
    return wrong


FAULT = Simple(
    "slack-down",
    dataclasses.replace(rank_crash.FAULT.expected, pages=(0, 2)),
    inject,
)
