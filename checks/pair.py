"""Bandwidth and latency between every two nodes, asked when a network is suspected."""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from statistics import median_high, median_low
from typing import NamedTuple, TypeAlias

from sentinel.model.collective import (
    CollectiveCheck,
    Meeting,
    MemberFinding,
    MemberSample,
    Round,
    tournament,
)
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId

FACTOR = 4.0
"""A pair is slow that is so many times slower than the others.

Between racks a fabric often gives a half or a third of what it gives within one, and a job beside it takes
its share: neither is a fault. One falls much lower, as to a hundredth at 3 Mbit/s.
"""
NOTICED_MS = 20.0
"""A shorter way is none to speak of, however much shorter the others are: a busy processor takes as long."""
PASSES = 5
ENOUGH_S = 0.3
"""The amount of data is doubled until it takes so long: set-up counts little then, and it ends soon."""
LEAST, MOST = 1 << 16, 1 << 23
"""Bytes in one transfer."""
ROUNDS = 15
"""In so many rounds a node meets more of the others than it takes to tell it from them."""
SHARE = 0.9
"""Of the deadline, after which gloo gives up by itself and says why."""


def measure(meeting: Meeting) -> Mapping[str, float]:
    """Give `mb_per_s` of a large all-reduce, and `ms` that one of four bytes takes."""
    import torch  # where there is none this says so
    import torch.distributed as dist

    within, gloo = timedelta(seconds=SHARE * meeting.deadline), dist.ProcessGroupGloo
    first, mine, world = meeting.addresses[0], meeting.addresses[meeting.rank], len(meeting.members)
    store = dist.TCPStore(first, meeting.port, world, meeting.rank == 0, within)
    options = gloo._Options()
    options._timeout, options._devices = within, [gloo.create_device(hostname=mine)]
    group = gloo(store, meeting.rank, world, options)
    longest = dist.AllreduceOptions()
    longest.reduceOp = dist.ReduceOp.MAX

    def seconds(tensor: torch.Tensor) -> float:
        """Time an all-reduce: all members agree on the longest, so that they stop together."""
        begun = time.perf_counter()
        group.allreduce([tensor]).wait()
        took = torch.tensor([time.perf_counter() - begun])
        group.allreduce([took], longest).wait()
        return float(took)

    shortest = min(seconds(torch.zeros(1)) for _ in range(PASSES))
    size, took = LEAST, 0.0
    while took < ENOUGH_S and size <= MOST:
        took, size = seconds(torch.zeros(size // 4)), 2 * size
    return {"mb_per_s": size / 2 / took / 1e6, "ms": shortest * 1e3}


class Way(NamedTuple):
    """What two nodes measured: the better of what both ends say, for both have to say that it is bad."""

    mb_per_s: float
    ms: float

    def is_slow(self, others: Sequence["Way"]) -> bool:
        """Say whether most of the others are much better."""
        speed, ms = median_low(way.mb_per_s for way in others), median_high(way.ms for way in others)
        late = self.ms > NOTICED_MS and self.ms > FACTOR * ms
        return late or self.mb_per_s * FACTOR < speed

    def __str__(self) -> str:
        return f"{self.mb_per_s:.3g} MB/s and {self.ms:.3g} ms"


Ways: TypeAlias = Mapping[tuple[NodeId, NodeId], Way]


def judge(samples: Sequence[MemberSample]) -> Iterable[MemberFinding]:
    """Name a node if its ways are slow and most others are not, or two if only the one between them is.

    A way that was not measured says nothing, and where most are slow nobody stands out.
    """
    ways = _ways(samples)
    slow = [node for node in sorted({node for pair in ways for node in pair}) if _is_slow(node, ways)]
    for node in slow:
        yield MemberFinding(node, _of_node(node, ways, ways))
    rest = {pair: way for pair, way in ways.items() if not {*pair} & {*slow}}
    compared = {pair: _others(pair, rest) for pair in rest} if len(rest) > 2 else {}
    bad = {pair: others for pair, others in compared.items() if rest[pair].is_slow(others)}
    ends = Counter(node for pair in bad for node in pair)
    for node in sorted(node for node in ends if ends[node] > 1):
        if all(ends[other] == 1 for pair in bad if node in pair for other in pair if other != node):
            yield MemberFinding(node, _of_node(node, rest, bad))
    for pair, others in bad.items():
        if ends[pair[0]] == ends[pair[1]] == 1:
            yield from _of_pair(pair, rest[pair], others)


def _ways(samples: Sequence[MemberSample]) -> Ways:
    by_pair: dict[tuple[NodeId, NodeId], dict[NodeId, Way]] = {}
    for each in samples:
        if len(each.members) == 2 and {"mb_per_s", "ms"} <= each.values.keys():
            one, other = sorted(each.members)
            by_pair.setdefault((one, other), {})[each.node] = Way(each.values["mb_per_s"], each.values["ms"])
    return {
        pair: Way(max(way.mb_per_s for way in ends.values()), min(way.ms for way in ends.values()))
        for pair, ends in by_pair.items()
        if len(ends) == 2
    }


def _is_slow(node: NodeId, ways: Ways) -> bool:
    """Say whether a node is slow with each of several others, and these are not among themselves."""
    mine = [way for pair, way in ways.items() if node in pair]
    others = [way for pair, way in ways.items() if node not in pair]
    return len(mine) > 1 and bool(others) and all(way.is_slow(others) for way in mine)


def _others(pair: tuple[NodeId, NodeId], ways: Ways) -> Sequence[Way]:
    return [way for each, way in ways.items() if each != pair]


def _of_node(node: NodeId, ways: Ways, slow: Collection[tuple[NodeId, NodeId]]) -> Finding:
    mine = [way for pair, way in ways.items() if node in pair and pair in slow]
    others = [way for pair, way in ways.items() if node not in pair]
    best, usual, all_ways = max(mine), _usual(others), sum(node in pair for pair in ways)
    summary = (
        f"{len(mine)} of its {all_ways} ways are slow, the best of them with {best}; others have {usual}"
    )
    return Finding("pair", "link-slow", "link", Health.CRITICAL, summary, _evidence(best, usual))


def _of_pair(pair: tuple[NodeId, NodeId], way: Way, others: Sequence[Way]) -> Iterator[MemberFinding]:
    usual = _usual(others)
    for node, peer in (pair, pair[::-1]):
        summary = f"the way to {peer} is slow, {way}; others have {usual}"
        found = Finding("pair", "pair-slow", f"link:{peer}", Health.WARNING, summary, _evidence(way, usual))
        yield MemberFinding(node, found)


def _usual(ways: Sequence[Way]) -> Way:
    return Way(median_low(way.mb_per_s for way in ways), median_high(way.ms for way in ways))


def _evidence(way: Way, others: Way) -> Mapping[str, str | int | float]:
    return {
        "mb_per_s": round(way.mb_per_s, 3),
        "ms": round(way.ms, 3),
        "others_mb_per_s": round(others.mb_per_s, 3),
        "others_ms": round(others.ms, 3),
    }


def _rounds(nodes: Sequence[NodeId]) -> Sequence[Round]:
    return tournament(nodes)[:ROUNDS]


CHECK = CollectiveCheck(
    "pair", deadline=20.0, measure=measure, judge=judge, causes=("link-slow",), rounds=_rounds
)
