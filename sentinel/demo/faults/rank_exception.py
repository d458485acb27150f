"""User code raises, each time: at one step wherever it runs, or on one node whoever runs there."""

import random

from sentinel.demo import raise_plan
from sentinel.demo.fault import NODE, Expected, Injection, Place, Simple, completed, pick, ranks
from sentinel.demo.recorded import lines, raised_on
from sentinel.demo.sandbox import Sandbox

AHEAD = 4
"""Steps until it raises: the plan must be there before every rank looks."""
FOLLOWS_CODE = Expected(frozenset({"code-error"}), names=("rank",), resumes=False)
# The counter-test: another node's rank changes places with the one that raised, and so loses its process.
FOLLOWS_NODE = Expected(frozenset({"node-suspect"}), evicts=True, names=NODE, moved=1)


def inject(sandbox: Sandbox, chance: random.Random) -> Injection:
    """Plan an exception that follows the code, or one that follows the node."""
    victim = pick(sandbox, chance)
    follows_node = chance.random() < 1 / 2
    step = sandbox.steps()[-1]["step"] + AHEAD
    plan = {"step": step, "node": victim.node} if follows_node else {"step": step, "rank": victim.rank}
    raise_plan.write(sandbox.cluster.root, plan)
    at = completed(sandbox, step - 1)
    truth = Place(victim.node) if follows_node else Place(rank=victim.rank)
    expected = FOLLOWS_NODE if follows_node else FOLLOWS_CODE

    def verify() -> list[str]:
        tried = [] if follows_node else _tried_elsewhere(sandbox, at, victim.rank)
        return _traceback(sandbox) + tried

    return Injection(at, truth, expected=expected, halts=True, verify=verify)


def _tried_elsewhere(sandbox: Sandbox, at: float, rank: int) -> list[str]:
    nodes = raised_on(lines(sandbox, at), rank)
    return [] if len(set(nodes)) > 1 else [f"rank {rank} raised on {nodes}, never on another node"]


def _several_nodes(sandbox: Sandbox) -> str:
    alone = len({victim.node for victim in ranks(sandbox)}) < 2
    return "to tell a node from the code needs ranks on two nodes" if alone else ""


def _traceback(sandbox: Sandbox) -> list[str]:
    """Look for the traceback in the page's thread."""
    said = sandbox.http.get(f"{sandbox.slack_url}/messages").json()
    replies = [message["text"] for message in said if message["thread_ts"]]
    has_traceback = any("outside the vocabulary" in text and "raising.py" in text for text in replies)
    return [] if has_traceback else ["no traceback in the page's thread"]


FAULT = Simple(
    "rank-exception",
    FOLLOWS_CODE,
    inject,
    _several_nodes,
    sandbox={"job": {"trainable": "sentinel.demo.raising:RaisingTrainer"}},
)
