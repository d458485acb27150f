"""Which nodes, pairs or racks explain the slow ways of a fabric: pure, from what pairs of nodes measured."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sentinel.checks._suspects import HINT, Culprit, Suspects
from sentinel.checks._ways import Fabric, fabric_of
from sentinel.model.collective import NO_ANSWER, MemberSample
from sentinel.model.ids import NodeId

MOST_CULPRITS, PER_CULPRIT = 4, 16
"""At most so many are named, or one of so many nodes: where more stand out it is no fault of theirs."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the ways of a fabric say."""

    culprits: tuple[Culprit, ...] = ()
    unclear: tuple[tuple[Culprit, ...], ...] = ()
    """Explanations of the same slow ways that can't be told apart."""
    open: tuple[Culprit, ...] = ()
    """Suspects that more rounds may confirm or clear."""
    watched: tuple[Culprit, ...] = ()
    """Who was slow for once, the worst first: that they are again tells them from chance."""
    silent: tuple[NodeId, ...] = ()
    """Nodes that were asked and did not answer."""
    too_many: tuple[Culprit, ...] = ()
    """Who stands out where more do than can be broken by themselves: none of them is named."""
    fabric: Fabric | None = None


def localise(samples: Iterable[MemberSample], *, hopeful: bool = False) -> Verdict:
    """Name the fewest nodes, pairs and racks that explain why ways are slow.

    Hopeful, also those that may only be far from others, where nobody knows the racks: whom to look at.
    """
    samples = list(samples)
    silent = tuple(sorted({sample.node for sample in samples if sample.error == NO_ANSWER}))
    fabric = fabric_of(samples, hopeful=hopeful)
    if fabric is None:
        return Verdict(silent=silent)
    ways = left = Suspects(fabric.lags)
    culprits, unclear = list[Culprit](), list[tuple[Culprit, ...]]()
    while named := next(iter(left.suspects()), None):
        alike = left.alike(named)
        (unclear.append((named, *alike)) if alike else culprits.append(named))
        left = left.without([named, *alike])
    nodes = {node for lag in fabric.lags for node in lag.pair}
    opened, watched = tuple(left.suspects(HINT)), tuple(left.watched())
    suspects = [*culprits, *(each for alike in unclear for each in alike), *opened, *watched]
    for named in () if hopeful else [each for each in culprits if each.kind == "node"]:
        if others := ways.may_share(named, suspects):
            unclear.append((named, *others))
            culprits.remove(named)
    if len(culprits) > max(MOST_CULPRITS, len(nodes) // PER_CULPRIT) or not _is_minority(culprits, nodes):
        return Verdict(silent=silent, too_many=tuple(culprits), fabric=fabric)
    return Verdict(tuple(culprits), tuple(unclear), opened, watched, silent, fabric=fabric)


def _is_minority(culprits: Sequence[Culprit], nodes: Collection[NodeId]) -> bool:
    blamed = {node for each in culprits if each.kind != "pair" for node in each.nodes}
    return 2 * len(blamed) < len(nodes)
