"""Bandwidth and latency between every two nodes, asked when a network is suspected."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from statistics import median

from sentinel.checks._localise import Verdict, localise
from sentinel.checks._plan import plan
from sentinel.checks._reduce import OVER, measure
from sentinel.checks._suspects import Culprit
from sentinel.checks._torch import load
from sentinel.checks._ways import FLOOR, Fabric, Way, usual, ways_of
from sentinel.model.collective import CollectiveCheck, Figure, MemberFinding, MemberSample
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId

NAMED = 3
"""So many nodes are named; the evidence has all of them."""


def judge(samples: Sequence[MemberSample]) -> Iterator[MemberFinding]:
    """Name nodes, pairs and racks that explain why ways are slow, each far likelier than chance.

    A way that was not measured says nothing; where most are slow, or two explain it alike, nobody is named,
    and that is told.
    """
    verdict = localise(samples)
    if verdict.fabric is not None:
        others = _others(verdict, verdict.fabric)
        for culprit in verdict.culprits:
            yield from _FINDINGS[culprit.kind](culprit, others)
        for alike in verdict.unclear:
            yield _of_alike(alike, others)
        if verdict.too_many:
            yield _of_many(verdict.too_many, others)
    if verdict.silent:
        yield _of_silent(verdict.silent)


def _others(verdict: Verdict, fabric: Fabric) -> Way:
    """Give what is usual of the ways that are not slow for anybody's sake."""
    accused = (*verdict.culprits, *(each for alike in verdict.unclear for each in alike), *verdict.too_many)
    slow = {lag for each in accused for lag in each.slow}
    good = [lag.way for lag in fabric.lags if lag not in slow and lag.behind < FLOOR]
    return usual(good or [lag.way for lag in fabric.lags])


def _of_node(node: Culprit, others: Way) -> Iterator[MemberFinding]:
    best, slow = _best(node), len(node.slow)
    summary = f"{slow} of its {node.looks} ways are slow, the best of them with {best}; others have {others}"
    found = Finding("pair", "link-slow", "link", Health.CRITICAL, summary, _evidence(best, others))
    yield MemberFinding(node.nodes[0], found)


def _of_pair(pair: Culprit, others: Way) -> Iterator[MemberFinding]:
    """Tell it of both ends: port, cable and switch between them look the same from here."""
    best = _best(pair)
    for node, peer in (pair.nodes, pair.nodes[::-1]):
        summary = f"the way to {peer} is slow, {best}; others have {others}"
        found = Finding("pair", "pair-slow", f"link:{peer}", Health.WARNING, summary, _evidence(best, others))
        yield MemberFinding(node, found)


def _of_rack(rack: Culprit, others: Way) -> Iterator[MemberFinding]:
    """Tell it of one node for all: what they share is slow, and none of them."""
    best, shared = _best(rack), _shared(rack)
    summary = (
        f"{len(rack.slow)} of {rack.looks} ways from {shared} to other racks are slow, the best of them with "
        f"{best}; others have {others}, and its {len(rack.nodes)} nodes are well among themselves"
    )
    about = _evidence(best, others) | {"nodes": len(rack.nodes)}
    found = Finding("pair", "rack-slow", f"rack:{rack.rack}", Health.WARNING, summary, about)
    yield MemberFinding(rack.nodes[0], found)


_FINDINGS = {"node": _of_node, "pair": _of_pair, "rack": _of_rack}


def _of_alike(alike: Sequence[Culprit], others: Way) -> MemberFinding:
    """Tell once of all that explain the same slow ways, so that nobody looks at one of them alone."""
    named, best, first = " or ".join(map(_who, alike)), _best(alike[0]), alike[0]
    alone = [each.rack for each in alike if each.kind == "rack" and len(each.nodes) == 1]
    why = f", for no other node of {' or '.join(alone)} measured" if alone else ""
    summary = (
        f"either {named} is slow, and nothing tells which{why}: {len(first.slow)} of {first.looks} ways are "
        f"slow, the best of them with {best}; others have {others}"
    )
    found = Finding("pair", "ways-unclear", "network", Health.WARNING, summary, _evidence(best, others))
    return MemberFinding(first.nodes[0], found)


def _who(culprit: Culprit) -> str:
    return f"the way out of {_shared(culprit)}" if culprit.kind == "rack" else " and ".join(culprit.nodes)


def _shared(rack: Culprit) -> str:
    return rack.rack or f"what {', '.join(rack.nodes[:NAMED])} and others share"


def _of_many(crowd: Sequence[Culprit], others: Way) -> MemberFinding:
    nodes = sorted({node for each in crowd for node in each.nodes})
    best = max(map(_best, crowd), key=lambda way: way.mb_per_s)
    summary = (
        f"ways of {_some(nodes)} are slow, more than break by themselves, so none of them is named: they may "
        f"share what is slow; the best has {best}; others have {others}"
    )
    about = _evidence(best, others) | {"slow": ", ".join(nodes)}
    found = Finding("pair", "ways-slow", "network", Health.WARNING, summary, about)
    return MemberFinding(nodes[0], found)


def _of_silent(nodes: Sequence[NodeId]) -> MemberFinding:
    """Say who did not answer: that accuses nobody, and clears nobody either."""
    summary = f"{_some(nodes)} gave no answer, so nothing is known there"
    about = {"silent": ", ".join(nodes)}
    return MemberFinding(
        nodes[0], Finding("pair", "members-silent", "network", Health.UNKNOWN, summary, about)
    )


def _some(nodes: Sequence[NodeId]) -> str:
    more = f" and {len(nodes) - NAMED} more" if len(nodes) > NAMED else ""
    return ", ".join(nodes[:NAMED]) + more


def _best(culprit: Culprit) -> Way:
    return max((lag.way for lag in culprit.slow), key=lambda way: (way.mb_per_s, -way.ms))


def _evidence(way: Way, others: Way) -> dict[str, str | int | float]:
    return {
        "mb_per_s": round(way.mb_per_s, 3),
        "ms": round(way.ms, 3),
        "others_mb_per_s": round(others.mb_per_s, 3),
        "others_ms": round(others.ms, 3),
    }


def figures(samples: Sequence[MemberSample]) -> Iterator[Figure]:
    """Give what each node's ways have, the median of those in its rack and of those between racks.

    A way whose ends go through unlike devices is like no other, and one beside a job says nothing.
    """
    over = {sample.node: sample.about.get(OVER, "") for sample in samples if not sample.error}
    found: dict[tuple[NodeId, str], list[float]] = defaultdict(list)
    for way in ways_of(samples):
        through = {over[node] for node in way.pair}
        if not way.busy and len(through) == 1 and "" not in through:
            for node in way.pair:
                found[node, _near_or_far(way)].append(way.mb_per_s)
    for (node, what), speeds in found.items():
        yield Figure(node, "link", over[node], what, median(speeds))


def _near_or_far(way: Way) -> str:
    if not all(way.racks):
        return "mb_per_s"
    return "far_mb_per_s" if way.crosses else "near_mb_per_s"


CHECK = CollectiveCheck(
    "pair",
    deadline=20.0,
    measure=measure,
    judge=judge,
    causes=("link-slow", "rack-slow", "network-unclear"),
    plan=plan,
    figures=figures,
    prepare=load,
)
