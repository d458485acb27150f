"""Messages as somebody with one agent's key may send them: well formed or not, about ranks that there are."""

import math
import random
from copy import deepcopy
from typing import Any

import msgpack

from sentinel.core.state import State
from sentinel.model.codec import to_plain
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import JobId, NodeId, WorkerId
from sentinel.model.report import (
    ExitSeen,
    FindingSeen,
    Hello,
    OrderDone,
    ProbedSeen,
    RaisedSeen,
    RankBeat,
    Report,
)

_ODD: tuple[Any, ...] = (
    *(-5, -1, 0, 1, 2, 3, 7, 2**20, 2**31, 2**40, 2**53, 2**63, 2**64 - 1, -(2**63)),
    *(1e300, math.nan, math.inf, -math.inf, -0.5, True, None, b"\xff", [], {}, [[]], [1, 2], [math.nan] * 3),
    *("", "x", "n1", "n2", "a/b", "\0", "../../etc", "x" * 300, "é\u202e", "gpu-0", "gpu-999999", "rank--5"),
    *(
        "user",
        "collective",
        "nan",
        "restore",
        "evicted",
        "signal 9",
        "exit 75",
        "X",
        "T",
        "critical",
        "unknown",
    ),
    *("ecc-uncorrectable", "xid", "gpu", "trainer", "heartbeat"),
    *({"is": "Report"}, {"xid": 79, "gpu": 0}, {"xid": -(2**60)}, {"owner": "ours", "pid": 2**40}),
)


class Hostile:
    """Makes messages out of chance and of what the cluster is."""

    def __init__(self, chance: random.Random, state: State, node: NodeId) -> None:
        self._chance, self._state, self._node = chance, state, node
        self._boot = state.nodes[node].boot
        self._number = chance.randrange(10**6)

    def message(self) -> bytes:
        """Give one, damaged in its own way."""
        chance = self._chance
        message = self._hello() if chance.random() < 0.05 else self._report()
        for _ in range(chance.choice((0, 1, 1, 1, 2, 5))):
            self._spoil(message)
        packed: bytes = msgpack.packb(message)
        kind = chance.random()
        if kind < 0.1:
            return self._flip(packed)
        if kind < 0.15:
            return packed[: chance.randrange(len(packed))]
        if kind < 0.2:
            return self._nested(packed)
        return packed

    def _flip(self, packed: bytes) -> bytes:
        damaged = bytearray(packed)
        for _ in range(self._chance.randint(1, 4)):
            damaged[self._chance.randrange(len(damaged))] = self._chance.randrange(256)
        return bytes(damaged)

    def _nested(self, packed: bytes) -> bytes:
        depth = self._chance.choice((10, 500, 900, 950, 980, 1000, 1024, 5000))
        nest = self._chance.choice((b"\x91", b"\x81\xa1x")) * depth
        return bytes([packed[0] + 1]) + packed[1:] + b"\xa1z" + nest + b"\xc0"

    def _spoil(self, noun: Any) -> None:
        """Put something odd somewhere into plain values."""
        while True:
            places = list(noun) if isinstance(noun, dict) else list(range(len(noun)))
            if not places:
                return
            place = self._chance.choice(places)
            inner = noun[place]
            if isinstance(inner, dict | list) and inner and self._chance.random() < 0.85:
                noun = inner
                continue
            noun[place] = deepcopy(self._chance.choice(_ODD))
            return

    # --- what is right before it is spoilt

    def _hello(self) -> dict[str, Any]:
        plain: dict[str, Any] = _lists(to_plain(Hello(self._node, self._boot, "127.0.0.1", 1, 8)))
        return plain

    def _report(self) -> dict[str, Any]:
        events = []
        for _ in range(self._chance.randint(0, 2)):
            self._number += 1
            events.append((self._number, self._event()))
        beats = tuple(self._beat() for _ in range(self._chance.randint(0, 2)))
        plain: dict[str, Any] = _lists(to_plain(Report(self._node, self._boot, 1, beats, tuple(events))))
        return plain

    def _rank(self) -> tuple[JobId, int, WorkerId, int, int]:
        """A rank that there is, wherever: (job, rank, worker, pid, generation)."""
        job = self._chance.choice(list(self._state.jobs.values()))
        worker = self._chance.choice(self._state.workers.of(job.id))
        return job.id, worker.rank, worker.id, worker.pid, job.generation

    def _beat(self) -> RankBeat:
        job, rank, worker, pid, generation = self._rank()
        step, phase = self._chance.randrange(50), self._chance.choice(("compute", "load", "collective"))
        return RankBeat(
            job, rank, worker, pid, 0, generation, step, phase, 5, 4, 0.1, 1e9, 2.5, 0.1, "S", 0.2
        )

    def _event(self) -> Any:
        job, rank, worker, pid, generation = self._rank()
        kind = self._chance.choice(("user", "collective", "nan", "restore", "evicted"))
        health = self._chance.choice((Health.OK, Health.WARNING, Health.CRITICAL, Health.UNKNOWN))
        check, code, component = self._chance.choice(
            (("gpu", "ecc-uncorrectable", "gpu-0"), ("xid", "xid", "gpu-0"), ("trainer", "storage", "rank-0"))
        )
        evidence = {"xid": 79, "gpu": 0, "owner": "ours", "rank": 0, "pid": pid}
        finding = Finding(check, code, component, health, "told", evidence, event=self._chance.random() < 0.5)
        return self._chance.choice(
            (
                ExitSeen(job, rank, worker, pid, generation, 0, self._chance.choice(("signal 9", "exit 75"))),
                RaisedSeen(
                    job,
                    rank,
                    worker,
                    pid,
                    generation,
                    0,
                    3,
                    kind,
                    "E: told",
                    "",
                    self._chance.choice(((), (1.0, math.nan))),
                ),
                FindingSeen(finding),
                ProbedSeen(("gpu",), f"exit:{pid}"),
                OrderDone("order", False, "no"),
            )
        )


def _lists(plain: Any) -> Any:
    if isinstance(plain, dict):
        return {key: _lists(value) for key, value in plain.items()}
    return [_lists(each) for each in plain] if isinstance(plain, list | tuple) else plain
