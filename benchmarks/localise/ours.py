"""What the pair check says of a fabric: its plan, round after round, and its verdict."""

from benchmarks.localise.answer import Answer, Named
from benchmarks.localise.draw import planted
from benchmarks.localise.fabric import Fabric
from sentinel.checks._localise import localise
from sentinel.checks._plan import plan
from sentinel.checks._suspects import Culprit
from sentinel.model.collective import NO_ANSWER, MemberSample

SAME = 0.75
"""A rack that nobody has named is found if the nodes that are called so are this much the same."""


def sentinel(fabric: Fabric) -> Answer:
    """Measure and judge as the pair check does."""
    samples, number, nodes = list[MemberSample](), 0, list(fabric.racks)
    while together := plan(nodes, samples):
        samples += (new := fabric.measure(together, number))
        number += 1
        mute = {sample.node for sample in new if sample.error == NO_ANSWER}
        nodes = [node for node in nodes if node not in mute]
    verdict = localise(samples)
    silent: set[Named] = {("silent", frozenset({node})) for node in verdict.silent}
    return Answer({_named(each, fabric) for each in verdict.culprits} | silent, number)


def _named(culprit: Culprit, fabric: Fabric) -> Named:
    nodes = frozenset(culprit.nodes)
    racks = (there for kind, there in planted(fabric) if kind == culprit.kind == "rack")
    same = next((there for there in racks if len(nodes & there) >= SAME * len(nodes | there)), nodes)
    return (culprit.kind, same)
