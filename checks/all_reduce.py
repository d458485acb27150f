"""An all-reduce of all nodes and one of each half: how fast the network is, and which half is slow."""

from collections.abc import Iterator, Sequence
from statistics import median

from sentinel.checks._reduce import measure, over_one_stack
from sentinel.checks._torch import load
from sentinel.model.collective import CollectiveCheck, MemberFinding, Members, MemberSample, Round
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId

FACTOR = 3.0
"""Halves that differ by less are as any two groups of nodes are, whose ways go through other switches."""


def judge(samples: Sequence[MemberSample]) -> Iterator[MemberFinding]:
    """Name the half that is much slower: who of it is the reason, the check `pair` finds.

    Where a job runs on one of them, they can't be compared.
    """
    if any(sample.busy for sample in samples):
        return
    speeds = {members: speed for members, speed in _speeds(samples).items() if len(members) < _most(samples)}
    if len(speeds) != 2:
        return
    (slow, low), (_, high) = sorted(speeds.items(), key=lambda each: each[1])
    if low * FACTOR > high:
        return
    said = (
        f"an all-reduce of {', '.join(slow)} has {low:.3g} MB/s, that of the other half {high:.3g} MB/s: "
        "sentinel probe pair tells which of them"
    )
    evidence = {"mb_per_s": round(low, 3), "others_mb_per_s": round(high, 3)}
    for node in slow:
        yield MemberFinding(
            node, Finding("all_reduce", "half-slow", "network", Health.WARNING, said, evidence)
        )


def _most(samples: Sequence[MemberSample]) -> int:
    return max((len(sample.members) for sample in samples), default=0)


def _speeds(samples: Sequence[MemberSample]) -> dict[Members, float]:
    """Give the bandwidth of each group of which all say one."""
    said: dict[Members, list[float]] = {}
    for sample in over_one_stack(samples):
        said.setdefault(sample.members, []).append(sample.values["mb_per_s"])
    return {members: median(speeds) for members, speeds in said.items() if len(speeds) == len(members)}


def plan(nodes: Sequence[NodeId], samples: Sequence[MemberSample]) -> Round:
    """Give all nodes at first, then both halves where a half has two of them."""
    half = len(nodes) // 2
    if len(nodes) < 2 or {sample.round for sample in samples} > {0}:
        return []
    if not samples:
        return [tuple(nodes)]
    return [tuple(nodes[:half]), tuple(nodes[half:])] if half > 1 else []


CHECK = CollectiveCheck(
    "all_reduce", deadline=20.0, measure=measure, judge=judge, causes=(), plan=plan, prepare=load
)
