"""Random fabrics with random faults, and what a rule makes of them."""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

from benchmarks.localise.fabric import Fabric, Fault, Noise
from sentinel.checks._localise import Culprit, localise
from sentinel.checks._plan import plan
from sentinel.model.collective import NO_ANSWER, MemberSample
from sentinel.model.ids import NodeId

KINDS = ("node", "pair", "rack", "intermittent", "lossy", "silent")
Named: TypeAlias = tuple[str, frozenset[NodeId]]
"""What is bad (`node`, `pair`, `rack`, `silent`), and which nodes."""
SAME = 0.75
"""A rack that nobody has named is found if the nodes that are called so are this much the same."""


class Answer(NamedTuple):
    """What a rule says of a fabric."""

    named: set[Named]
    rounds: int


def fabric(chance: random.Random, nodes: int, faults: Sequence[str], *, racks_known: bool) -> Fabric:
    """Draw a fabric of so many nodes with these kinds of faults."""
    size = chance.randint(8, 32)
    names = [NodeId(f"n{number:03}") for number in range(nodes)]
    racks = {name: f"r{number // size:02}" for number, name in enumerate(names)}
    chance.shuffle(mixed := list(names))
    order = dict(zip(names, mixed, strict=True))  # names tell nothing of ranks
    racks = {order[name]: rack for name, rack in racks.items()}
    for _ in range(nodes // 64):  # spares that took a place
        one, other = chance.sample(names, 2)
        racks[one], racks[other] = racks[other], racks[one]
    noise = Noise(chance.uniform(0.03, 0.1), chance.uniform(0.0, 0.01), chance.choice((0.0, 0.1, 0.3)))
    alone = chance.choice((1.0, 1.0, 0.5, 1 / 3)) if racks_known else 1.0
    drawn = Fabric(chance, racks, chance.choice((1.0, 1.5, 2.0, 3.0)), alone, noise, named=racks_known)
    drawn.faults = _faults(chance, drawn, faults)
    return drawn


def _faults(chance: random.Random, fabric: Fabric, kinds: Sequence[str]) -> list[Fault]:
    order, found, used = list(fabric.racks), list[Fault](), set[NodeId]()
    for kind in kinds:
        free = [place for place in range(len(order) - 1) if used.isdisjoint(order[place : place + 2])]
        place = chance.choice(free)
        node = order[place]
        match kind:
            case "node":
                found.append(Fault(kind, (node,), chance.uniform(0.1, 0.7)))
            case "intermittent":
                found.append(Fault(kind, (node,), chance.uniform(0.1, 0.5), chance.uniform(0.3, 0.5)))
            case "lossy":
                found.append(Fault(kind, (node,), chance.uniform(0.1, 0.7), ms=chance.uniform(30.0, 300.0)))
            case "pair":
                pair = tuple(sorted((node, order[place + 1])))
                found.append(Fault(kind, pair, chance.uniform(0.1, 0.5)))
                used.add(order[place + 1])
            case "rack":
                size = sum(rack == fabric.racks[node] for rack in fabric.racks.values())
                if size < 4 or any(fabric.racks[each.nodes[0]] == fabric.racks[node] for each in found):
                    return _faults(chance, fabric, kinds)
                found.append(Fault(kind, (node,), chance.uniform(0.1, 0.5)))
            case "silent":
                found.append(Fault(kind, (node,), 0.0))
        used.add(node)
    return found


def planted(fabric: Fabric) -> set[Named]:
    """Say what there is to find."""
    named = set[Named]()
    for fault in fabric.faults:
        if fault.kind == "rack":
            rack = fabric.racks[fault.nodes[0]]
            named.add(("rack", frozenset(node for node, other in fabric.racks.items() if other == rack)))
        else:
            kind = fault.kind if fault.kind in ("pair", "silent") else "node"
            named.add((kind, frozenset(fault.nodes)))
    return named


def ours(fabric: Fabric) -> Answer:
    """Measure and judge as the pair check does."""
    samples, number, nodes = list[MemberSample](), 0, list(fabric.racks)
    while together := plan(nodes, samples):
        samples += (new := fabric.measure(together, number))
        number += 1
        mute = {sample.node for sample in new if sample.error == NO_ANSWER}
        nodes = [node for node in nodes if node not in mute]
    verdict = localise(samples)
    silent = {("silent", frozenset({node})) for node in verdict.silent}
    return Answer({_named(each, fabric) for each in verdict.culprits} | silent, number)


def _named(culprit: Culprit, fabric: Fabric) -> Named:
    nodes = frozenset(culprit.nodes)
    if culprit.kind == "rack":
        for kind, there in planted(fabric):
            if kind == "rack" and len(nodes & there) >= SAME * len(nodes | there):
                return ("rack", there)
    return (culprit.kind, nodes)


RULES: dict[str, Callable[[Fabric], Answer]] = {"sentinel": ours}
