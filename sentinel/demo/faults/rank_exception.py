"""User code raises, each time: at one step wherever it runs, or on one node whoever runs there."""

import json
import random
from pathlib import Path

import httpx

from sentinel.demo.fault import Expected, Injection, Place, Simple, completed, pick
from sentinel.demo.raising import PLAN_FILE
from sentinel.demo.stage import Stage

AHEAD = 4
"""Steps until it raises: the plan must be there before every rank looks."""
CODE = Expected(frozenset({"code-error"}), resumes=False)
NODE = Expected(frozenset({"node-suspect"}), evicts=True)


def inject(stage: Stage, chance: random.Random) -> Injection:
    """Plan an exception that follows the code, or one that follows the node."""
    victim = pick(stage, chance)
    follows_node = chance.random() < 1 / 2
    step = stage.steps()[-1]["step"] + AHEAD
    plan = {"step": step, "node": victim.node} if follows_node else {"step": step, "rank": victim.rank}
    _write(stage.cluster.root / PLAN_FILE, plan)
    at = completed(stage, step - 1)
    truth = Place(victim.node) if follows_node else Place(rank=victim.rank)
    expected = NODE if follows_node else CODE
    return Injection(at, truth, expected=expected, halts=True, verify=lambda: _traceback(stage))


def _write(path: Path, plan: dict[str, object]) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(plan))
    draft.replace(path)


def _traceback(stage: Stage) -> list[str]:
    """Look for the traceback in the page's thread."""
    said = httpx.get(f"{stage.slack_url}/messages", timeout=5.0).json()
    replies = [message["text"] for message in said if message["thread_ts"]]
    told = any("outside the vocabulary" in text and "raising.py" in text for text in replies)
    return [] if told else ["no traceback in the page's thread"]


FAULT = Simple(
    "rank-exception", CODE, inject, stage={"job": {"trainable": "sentinel.demo.raising:RaisingTrainer"}}
)
