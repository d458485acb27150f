"""Counts the tally from facts: what spans ended, and what happened."""

from collections.abc import Iterator
from typing import TypeVar

from msgspec.structs import replace

from sentinel.core.idle import idle, keeping
from sentinel.core.state import State
from sentinel.core.state.rows import Job, JobStage, Node
from sentinel.logbook.judgement import judged
from sentinel.logbook.tally import TRAINING, Entry, Evicted, Proved, Span, Spent, Watched
from sentinel.model.action import kind_of
from sentinel.model.fact import Fact, JobStalled, Outcome
from sentinel.model.ids import IncidentId, Instant, JobId, NodeId, Seconds
from sentinel.model.journal import incident_of

STALL_S: Seconds = 300.0
"""So much of a span that lasts is not told yet: a job that stalls had stood still before anybody saw it."""
S = TypeVar("S", Watched, Spent)


class Tally:
    """Told of each fact with the state after it; gives what can be counted from then on."""

    def __init__(self, state: State, since: Instant) -> None:
        """Begin to count at a moment, with what was so then."""
        self._gpus = {node.id: _gpus(node) for node in state.nodes.values()}
        """Of each node that are watched."""
        self._watched = Watched(since, since, sum(self._gpus.values()))
        self._spent: dict[JobId, Spent] = {}
        self._stood: dict[JobId, Instant] = {}
        """Jobs that had stood still before they were seen to, and since when."""
        self._out: dict[NodeId, tuple[IncidentId, tuple[str, ...], Instant]] = {}
        """Nodes that an incident has taken out: which, what was tried, and when the last proof was asked."""
        for _ in self._jobs(state, since):
            pass
        self._look_at_nodes(state)

    def take(self, state: State, fact: Fact) -> list[Entry]:
        """Take a fact in; gives the spans that ended with it, and what happened."""
        at = max(fact.at, self._watched.begin)
        found: list[Entry] = []
        found += self._watches(state, fact, at)
        if isinstance(fact, JobStalled):
            self._stood.setdefault(fact.job, at - fact.stalled_s)
        found += self._jobs(state, at)
        found += self._proofs(state, at)
        if isinstance(fact, Outcome) and fact.ok and kind_of(fact.action) == "evict":
            found.append(Evicted(at, NodeId(fact.action.split("/")[2]), incident_of(fact.action)))
        found += judged(fact)
        return found

    def _watches(self, state: State, fact: Fact, at: Instant) -> list[Entry]:
        """End the span of GPUs that are watched, if the fact's node has others of them now."""
        node = state.nodes.get(NodeId(str(getattr(fact, "node", ""))))
        more = _gpus(node) - self._gpus.get(node.id, 0) if node is not None else 0
        if node is None or not more:
            return []
        self._gpus[node.id] = _gpus(node)
        ended, self._watched = self._watched, Watched(at, at, self._watched.gpus + more)
        return _ended(ended, at)

    def lasting(self, now: Instant) -> list[Entry]:
        """Give what has passed of the spans that last."""
        spans: list[Span] = [self._watched, *self._spent.values()]
        return [part for span in spans for part in _ended(span, now)]

    def flush(self, now: Instant, held_s: Seconds = 0.0) -> list[Entry]:
        """Give what has passed of the spans that last, but for the newest `held_s`, and go on from there."""
        until = now - held_s
        found = self.lasting(until)
        self._watched = _from(self._watched, until)
        self._spent = {job: _from(span, until) for job, span in self._spent.items()}
        return found

    def _jobs(self, state: State, at: Instant) -> Iterator[Entry]:
        """End the spans of jobs of which something else is true now, and begin others."""
        for name in [name for name in self._spent if name not in state.jobs]:
            yield from _ended(self._spent.pop(name), at)
        for job in state.jobs.values():
            on, span = _on(job, state), self._spent.get(job.id)
            if span is not None and (span.on, span.ranks) == (on, job.world):
                continue
            begin = at
            if span is not None:
                if span.on == TRAINING and on:
                    begin = max(span.begin, min(at, self._stood.get(job.id, at)))
                yield from _ended(self._spent.pop(job.id), begin)
            if on:
                self._spent[job.id] = Spent(begin, begin, job.id, on, job.world)
            if on == TRAINING:
                self._stood.pop(job.id, None)

    def _proofs(self, state: State, at: Instant) -> Iterator[Proved]:
        """Tell how the proofs of nodes that are or were out have ended."""
        for name, (incident, repairs, asked) in list(self._out.items()):
            node = state.nodes.get(name)
            proof = node.proof if node is not None else None
            if proof is None or proof.is_under_way or proof.at == asked:
                continue
            self._out[name] = incident, repairs, proof.at
            yield Proved(at, name, incident, proof.stage.value, repairs, proof.said)
        self._look_at_nodes(state)

    def _look_at_nodes(self, state: State) -> None:
        """Remember who is out, and for which incident."""
        out = {node.id: node for node in state.cordoned() if node.cordon is not None and node.cordon.is_ours}
        for name in [name for name in self._out if name not in out]:
            del self._out[name]
        for node in out.values():
            self._out[node.id] = self._out_for(node)

    def _out_for(self, node: Node) -> tuple[IncidentId, tuple[str, ...], Instant]:
        assert node.cordon is not None
        known = self._out.get(node.id)
        incident = IncidentId(node.cordon.by)
        ended = node.proof.at if node.proof is not None and not node.proof.is_under_way else 0.0
        asked = known[2] if known is not None and known[0] == incident else ended
        return incident, tuple(rung.value for rung in node.rungs), asked


def _from(span: S, at: Instant) -> S:
    return replace(span, begin=max(span.begin, at))


def _ended(span: Watched | Spent, at: Instant) -> list[Entry]:
    return [replace(span, end=at)] if at > span.begin else []


def _gpus(node: Node) -> int:
    return 0 if node.silent or node.left else node.gpus


def _on(job: Job, state: State) -> str:
    """Say what a job's time goes into now; empty when it is over."""
    if job.stage is JobStage.FINISHED:
        return ""
    if job.stage is JobStage.RUNNING:
        return TRAINING
    incident = keeping(job, state)
    return incident.id if incident is not None else idle(job)
