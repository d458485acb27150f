"""Random fabrics with random faults, and what there is to find."""

import random
from collections.abc import Sequence

from benchmarks.localise.answer import Named
from benchmarks.localise.fabric import Fabric, Fault, Noise
from sentinel.model.ids import NodeId

KINDS = ("node", "pair", "rack", "intermittent", "lossy", "silent")


def fabric(chance: random.Random, nodes: int, kinds: Sequence[str], *, racks_known: bool) -> Fabric:
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
    alone = chance.choice((1.0, 1.0, 0.5, 1 / 3)) if racks_known or not kinds else 1.0
    drawn = Fabric(chance, racks, chance.choice((1.0, 1.5, 2.0, 3.0)), alone, noise, named=racks_known)
    drawn.faults = faults(chance, drawn, kinds)
    return drawn


def faults(chance: random.Random, fabric: Fabric, kinds: Sequence[str]) -> list[Fault]:
    """Draw faults of these kinds; none of two at one node."""
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
                    return faults(chance, fabric, kinds)
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
