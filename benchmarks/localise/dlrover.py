"""The rule of DLRover's network check, in own words from its documentation, as something to compare with.

Two rounds of pairs. In the first, neighbours meet; in the second the fastest node meets the slowest, the
next fastest the next slowest. A node's time is the shorter of its two; who did not finish in either is at
fault, and a straggler needs more than twice the median time.
"""

from collections.abc import Mapping
from statistics import median

from benchmarks.localise.answer import Answer, Named
from benchmarks.localise.fabric import Fabric
from sentinel.model.collective import MemberSample, Round
from sentinel.model.ids import NodeId

SLOWER = 2.0
SIZE_MB = 100.0


def two_rounds(fabric: Fabric) -> Answer:
    """Say what the rule makes of a fabric; it knows nodes only."""
    nodes = list(fabric.racks)
    first = _seconds(fabric, list(zip(nodes[::2], nodes[1::2], strict=False)), 0)
    order = sorted(nodes, key=lambda node: first.get(node, float("inf")))
    half = len(order) // 2
    second = _seconds(fabric, list(zip(order[:half], reversed(order), strict=False)), 1)
    took = {node: min(times) for node in nodes if (times := [t[node] for t in (first, second) if node in t])}
    middle = median(took.values())
    named: set[Named] = {("node", frozenset({node})) for node, s in took.items() if s > SLOWER * middle}
    return Answer(named | {("silent", frozenset({node})) for node in nodes if node not in took}, 2)


def _seconds(fabric: Fabric, together: Round, number: int) -> Mapping[NodeId, float]:
    samples = [sample for sample in fabric.measure(together, number) if sample.values]
    return {sample.node: _took(sample) for sample in samples}


def _took(sample: MemberSample) -> float:
    return SIZE_MB / sample.values["mb_per_s"] + sample.values["ms"] / 1e3
