"""User code raises, each time: at one step wherever it runs, or on one node whoever runs there."""

import json
import random
from pathlib import Path

import httpx

from sentinel.demo.fault import NODE, Expected, Injection, Place, Simple, completed, pick, ranks
from sentinel.demo.raising import PLAN_FILE
from sentinel.demo.recorded import lines, raised_on
from sentinel.demo.stage import Stage

AHEAD = 4
"""Steps until it raises: the plan must be there before every rank looks."""
FOLLOWS_CODE = Expected(frozenset({"code-error"}), names=("rank",), resumes=False)
# The counter-test: another node's rank changes places with the one that raised, and so loses its process.
FOLLOWS_NODE = Expected(frozenset({"node-suspect"}), evicts=True, names=NODE, moved=1)


def inject(stage: Stage, chance: random.Random) -> Injection:
    """Plan an exception that follows the code, or one that follows the node."""
    victim = pick(stage, chance)
    follows_node = chance.random() < 1 / 2
    step = stage.steps()[-1]["step"] + AHEAD
    plan = {"step": step, "node": victim.node} if follows_node else {"step": step, "rank": victim.rank}
    _write(stage.cluster.root / PLAN_FILE, plan)
    at = completed(stage, step - 1)
    truth = Place(victim.node) if follows_node else Place(rank=victim.rank)
    expected = FOLLOWS_NODE if follows_node else FOLLOWS_CODE

    def verify() -> list[str]:
        tried = [] if follows_node else _tried_elsewhere(stage, at, victim.rank)
        return _traceback(stage) + tried

    return Injection(at, truth, expected=expected, halts=True, verify=verify)


def _write(path: Path, plan: dict[str, object]) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(json.dumps(plan))
    draft.replace(path)


def _tried_elsewhere(stage: Stage, at: float, rank: int) -> list[str]:
    nodes = raised_on(lines(stage, at), rank)
    return [] if len(set(nodes)) > 1 else [f"rank {rank} raised on {nodes}, never on another node"]


def _several_nodes(stage: Stage) -> str:
    alone = len({victim.node for victim in ranks(stage)}) < 2
    return "to tell a node from the code needs ranks on two nodes" if alone else ""


def _traceback(stage: Stage) -> list[str]:
    """Look for the traceback in the page's thread."""
    said = httpx.get(f"{stage.slack_url}/messages", timeout=5.0).json()
    replies = [message["text"] for message in said if message["thread_ts"]]
    told = any("outside the vocabulary" in text and "raising.py" in text for text in replies)
    return [] if told else ["no traceback in the page's thread"]


FAULT = Simple(
    "rank-exception",
    FOLLOWS_CODE,
    inject,
    _several_nodes,
    stage={"job": {"trainable": "sentinel.demo.raising:RaisingTrainer"}},
)
