"""A simulated leaf-spine fabric of up to 512 nodes, with faults of known kinds."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sentinel.model.collective import NO_ANSWER, Members, MemberSample, Round
from sentinel.model.ids import NodeId

MB_PER_S, MS = 10_000.0, 0.5


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where: at nodes, at a pair, or at a rack's uplink."""

    kind: str
    nodes: tuple[NodeId, ...]
    rate: float
    """The share that is left of what it should give."""
    share: float = 1.0
    """In which part of the rounds it shows."""
    ms: float = 0.0


@dataclass(frozen=True, slots=True)
class Noise:
    """How unlike each other healthy ways are."""

    sigma: float = 0.06
    """Of the logarithm of a rate."""
    outliers: float = 0.004
    """So many measurements come out at 30% to 90%."""
    contention: float = 0.0
    """So many ways share with the running job, and get 65% to 95%."""


@dataclass(slots=True)
class Fabric:
    """Racks of nodes under leaf switches, whose uplinks carry less than all their nodes at once."""

    chance: random.Random
    racks: Mapping[NodeId, str]
    oversubscription: float = 2.0
    alone: float = 1.0
    """What one way between racks gives if no other uses its uplinks."""
    noise: Noise = Noise()
    faults: Sequence[Fault] = ()
    named: bool = True
    """Whether samples say which rack a node is in."""
    sizes: Counter[str] = field(init=False)

    def __post_init__(self) -> None:
        self.sizes = Counter(self.racks.values())

    def measure(self, together: Round, number: int) -> list[MemberSample]:
        """Give what the members of a round measure, all at once."""
        showing = [each for each in self.faults if self.chance.random() < each.share]
        slow = {
            node: each
            for each in showing
            if each.kind in ("node", "intermittent", "lossy")
            for node in each.nodes
        }
        pairs = {each.nodes: each for each in showing if each.kind == "pair"}
        silent = {node for each in showing if each.kind == "silent" for node in each.nodes}
        uplinks = {self.racks[each.nodes[0]]: each.rate for each in showing if each.kind == "rack"}
        flows = Counter(
            rack for pair in together if self._crosses(pair) for rack in {self.racks[n] for n in pair}
        )
        samples = []
        for pair in together:
            if silent & {*pair}:
                said = (NO_ANSWER if node in silent else "the other one is not there" for node in pair)
                samples += [self._sample(*each, pair, number, {}) for each in zip(pair, said, strict=True)]
                continue
            rate = min([1.0, *(slow[node].rate for node in pair if node in slow)])
            if self._crosses(pair):
                rate = min(rate, self.alone, *(self._uplink(self.racks[n], uplinks, flows) for n in pair))
            ms, way = MS * self.chance.lognormvariate(0.0, 0.3), pairs.get(_key(pair))
            ms = max([ms, *(slow[node].ms for node in pair if node in slow)])
            rate *= way.rate if way else 1.0
            rate *= self._noise()
            values = {"mb_per_s": MB_PER_S * rate, "ms": ms}
            samples += [self._sample(node, "", pair, number, values) for node in pair]
        return samples

    def _crosses(self, pair: Members) -> bool:
        return self.racks[pair[0]] != self.racks[pair[1]]

    def _uplink(self, rack: str, uplinks: Mapping[str, float], flows: Counter[str]) -> float:
        """Give each way's part of an uplink, which carries one way at least."""
        whole = max(self.alone, self.sizes[rack] * min(self.alone, 1 / self.oversubscription))
        return uplinks.get(rack, 1.0) * whole / flows[rack]

    def _noise(self) -> float:
        noise, chance = self.noise, self.chance
        factor = chance.lognormvariate(0.0, noise.sigma)
        if chance.random() < noise.outliers:
            factor *= chance.uniform(0.3, 0.9)
        if chance.random() < noise.contention:
            factor *= chance.uniform(0.65, 0.95)
        return factor

    def _sample(
        self, node: NodeId, error: str, pair: Members, number: int, values: Mapping[str, float]
    ) -> MemberSample:
        rack = self.racks[node] if self.named else ""
        return MemberSample(node, pair, values, error, round=number, rack=rack, busy=True)


def _key(pair: Members) -> Members:
    return tuple(sorted(pair))
