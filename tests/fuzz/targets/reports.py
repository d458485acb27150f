"""Messages of agents, from the wire through the inbox, the fold and the journal."""

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sentinel import runbooks
from sentinel.adapters.journal import Journal
from sentinel.adapters.keys import Keys
from sentinel.adapters.transport import Reports
from sentinel.core.detect.watch import Watch
from sentinel.core.fold import decide
from sentinel.core.state import Rules, State
from sentinel.logbook.recording import read
from sentinel.model.codec import encode, from_plain
from sentinel.model.fact import DeadlinePassed, FindingReported
from sentinel.model.ids import JobId, NodeId, WorkerId
from sentinel.model.policy import Policy
from sentinel.model.report import (
    Event,
    ExitSeen,
    FindingSeen,
    Hello,
    OrderDone,
    ProbedSeen,
    RaisedSeen,
    RankBeat,
    Report,
)
from sentinel.runtime.inbox import Inbox
from sentinel.runtime.ledger import Ledger
from tests.enrolled import keys_with
from tests.fuzz.hostile import Hostile

RECORDINGS = Path(__file__).parents[2] / "incidents"
RECORDING = read((RECORDINGS / "rank-crash.jsonl").read_text())
AFRESH = 500
"""Messages after which another controller hears them, so that none hears one when it is full of others."""


def _training() -> tuple[State, Rules]:
    """Give a cluster amid an incident, and the rules that decide there."""
    rules = Rules(from_plain(Policy, RECORDING.policy), runbooks.load())
    state = State.from_plain(RECORDING.state) if RECORDING.state else State()
    for line in RECORDING.lines:
        decide(state, line.fact, rules)
    return state, rules


STATE, RULES = _training()
[JOB] = STATE.jobs.values()
RANK, WORKER = next(iter(STATE.seated(JOB)))
NODE = WORKER.node
_PLACE = (JOB.id, RANK, WORKER.id, WORKER.pid, JOB.generation, 0)
_FINDINGS = [
    line.fact.finding
    for name in ("gpu-ecc", "gpu-app-xid", "disk-full", "data-stall")
    for line in read((RECORDINGS / f"{name}.jsonl").read_text()).lines
    if isinstance(line.fact, FindingReported)
]
EVENTS: tuple[Event, ...] = (
    ExitSeen(*_PLACE, "signal 9"),
    RaisedSeen(*_PLACE, 7, "user", "KeyError: 3", "Traceback …"),
    RaisedSeen(*_PLACE, 7, "nan", "loss is no number", "", (1.0, float("nan"))),
    ProbedSeen(("gpu", "host"), f"exit:{WORKER.pid}"),
    OrderDone("I-0001/stacks/train/1", True, "done", ("rank 0", "rank 1")),
    *(FindingSeen(finding) for finding in _FINDINGS[:20]),
)


def seeds() -> Iterator[bytes]:
    """Greetings, beats of every rank, and each event."""
    yield encode(Hello(NODE, STATE.nodes[NODE].boot, "10.0.0.1", 7000, 8))
    yield encode(Hello(NodeId("n99"), "boot-2", "10.0.0.99", 7000, 8, 7802))
    for rank, worker in STATE.seated(JOB):
        yield encode(Report(worker.node, STATE.nodes[worker.node].boot, 9, (_beat(rank, worker.id),), ()))
    for number, event in enumerate(EVENTS, 1_000):
        events = ((number, event),)
        yield encode(Report(NODE, STATE.nodes[NODE].boot, number, (_beat(RANK, WORKER.id),), events))


def shaped(data: bytes, chance: random.Random) -> bytes:
    """Of two messages one is made as somebody with the node's key may make it, about ranks that there are."""
    return data if chance.random() < 0.5 else Hostile(chance, STATE, NODE).message()


def _beat(rank: int, worker: WorkerId) -> RankBeat:
    job, generation = JobId(JOB.id), JOB.generation
    times = {"outside_s": 0.1, "arrival": 1e9, "loss": 2.5, "beat_age_s": 0.1, "phase_age_s": 0.1}
    return RankBeat(
        job, rank, worker, 100 + rank, 0, generation, JOB.high_step + 1, "compute", 9, 9, state="R", **times
    )


class Frame:
    """What comes from a socket, and what the handshake has proven of who sent it."""

    def __init__(self, content: bytes, public: str) -> None:
        self.bytes = content
        self._proven = {"User-Id": public, "__fd": "-1"}

    def get(self, name: str) -> str:
        return self._proven[name]


class Controller:
    """All of one that hears reports."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        self._loop = asyncio.new_event_loop()
        self.reports = Reports("tcp://127.0.0.1:0", keys)
        self._loop.run_until_complete(self.reports.__aenter__())
        self._public = self.reports.enrolment.nodes[NODE][0]
        for path in folder.glob("journal.db*"):
            path.unlink()
        self.journal = Journal(folder / "journal.db")
        self.journal._db.execute("PRAGMA synchronous = OFF")
        self.ledger = Ledger(self.journal, RULES, "books", lambda _actions: None)
        self.ledger.state = State.from_plain(STATE.to_plain())
        self.watch, self.at = Watch(RULES.policy, STATE.now), STATE.now
        self.inbox = Inbox(self.ledger, self.watch, lambda _node, _done: None, lambda: self.at)

    def hear(self, message: bytes) -> bool:
        self.at += 0.05
        frames = [Frame(b"route", ""), Frame(message, self._public)]
        heard = self._loop.run_until_complete(self.reports._hear(frames[0], frames[1:]))  # type: ignore[arg-type]
        if heard is None:
            return False
        node, message = heard
        answer = self.inbox.hear(message)
        self.ledger.absorb(self.watch.tick(self.ledger.state, self.at))
        while (due := self.ledger.state.next_deadline()) is not None and due[0] <= self.at:
            self.ledger.absorb([DeadlinePassed(self.at, due[1])])
        assert not self.ledger.state.frozen.startswith("a defect"), self.ledger.state.frozen
        assert not node or answer is None or encode(answer)
        return True

    def close(self) -> None:
        self.journal.close()
        self.reports.close()
        self._loop.close()


@contextmanager
def opened(folder: Path) -> Iterator[Callable[[bytes], bool]]:
    """Have a controller hear one message after the other; accepted is what it can read."""
    keys = keys_with(folder / "keys", NODE)
    heard, controller = 0, Controller(folder, keys)

    def take(data: bytes) -> bool:
        nonlocal heard, controller
        heard += 1
        if heard % AFRESH == 0:
            controller.close()
            controller = Controller(folder, keys)
        return controller.hear(data)

    try:
        yield take
    finally:
        controller.close()
