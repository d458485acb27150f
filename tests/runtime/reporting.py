"""One agent, its connection and its controller, where each may fail: what was told and what was heard."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from sentinel import runbooks
from sentinel.adapters.journal import Journal
from sentinel.core.detect.watch import Watch
from sentinel.core.state import Rules
from sentinel.model.fact import Fact, FindingReported, NodeProbed, Origin
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.policy import Policy
from sentinel.model.report import Ack, Event, FindingSeen, Hello, OrderDone, ProbedSeen, Report, Unreadable
from sentinel.runtime.agent.lease import Lease
from sentinel.runtime.agent.orders import Orders
from sentinel.runtime.agent.process_logs import LogTaker
from sentinel.runtime.agent.ranks import Ranks
from sentinel.runtime.agent.resets import Resets
from sentinel.runtime.agent.spool import Spool
from sentinel.runtime.agent.stacks import StackTaker
from sentinel.runtime.inbox import Inbox
from sentinel.runtime.ledger import Ledger

NODE = NodeId("n1")
RULES = Rules(Policy(), runbooks.load())
MANY = 230
"""More than a report holds."""


def name_of(event: Event | Fact) -> str:
    """Tell an event from all others, and a fact that is made of it."""
    match event:
        case FindingSeen(finding=finding) | FindingReported(finding=finding):
            return f"{finding.evidence['line']} {finding.count}" if finding.burst else finding.summary
        case ProbedSeen(reason=name) | NodeProbed(reason=name) | OrderDone(order=name) | Unreadable(name):
            return name
    raise AssertionError(event)


def key_of(event: Event) -> str:
    """Tell an event from others, but for the tellings of one burst."""
    return name_of(event).partition(" ")[0]


def seen(line: str, burst: str = "", count: int = 1) -> FindingSeen:
    evidence = {"line": line}
    return FindingSeen(
        Finding(
            "xid", "xid-31", "gpu-0", Health.WARNING, line, evidence, event=True, burst=burst, count=count
        )
    )


@dataclass
class Agent:
    """What an agent keeps and obeys, with what its next one must tell again."""

    boot: str
    folder: Path
    owed: dict[str, Event]
    """What no acknowledgement has released, by name: it lies in files and in the kernel log."""
    reported: list[str] = field(default_factory=list)
    sent: int = 0

    def __post_init__(self) -> None:
        self.spool = Spool()
        ranks, stacks, lease = Ranks(self.folder / "beats"), StackTaker(self.folder), Lease(self.folder / "l")
        nothing: Callable[..., None] = lambda *_: None  # noqa: E731
        resets = Resets(self.folder / "nudge", "none", "nvidia-smi")
        asked = {"look": nothing, "probe_now": nothing, "measure_now": nothing, "measure_no_more": nothing}
        asked |= {"let_go": nothing}
        logs = LogTaker(self.folder / "nudge")
        self.orders = Orders(ranks, self.spool, lease, stacks, logs, resets, self.boot, **asked)
        for event in [*self.owed.values()]:
            self.tell(event)

    def tell(self, event: Event) -> None:
        name, key = name_of(event), key_of(event)
        self.owed[key] = event
        self.reported.append(name)
        self.spool.add(event, lambda: self._release(key))

    def _release(self, key: str) -> None:
        if not key.startswith("b"):
            self.owed.pop(key, None)

    def obey(self, ack: Ack) -> None:
        """Bursts are in the book, which is written when nothing is left to tell."""
        self.orders.obey(ack)
        if not self.spool:
            self.owed.clear()

    def report(self) -> Report:
        self.sent += 1
        return Report(NODE, self.boot, self.sent, (), self.spool.pending())


class Reporting:
    """An episode: each step is one thing that may happen, and at the end all that is owed is told."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made, self.boots, self.now = folder, 0, 0, 1.0
        self.bursts: dict[str, int] = {}
        self.agents: dict[str, Agent] = {}
        self.wire: list[Report] = []
        self.acks: list[Ack] = []
        self.answered: list[list[str]] = []
        """The orders' ends that each controller heard."""
        self.unreadable: set[str] = set()
        """These are passed over."""
        self.fails = False
        self.journal = Journal(folder / "journal.db")
        self.controller_starts()
        self.agent_starts()

    # --- what may happen -------------------------------------------------------------------------------

    def controller_starts(self, *_: int) -> None:
        """Another controller goes on from the journal: what was only in memory is gone."""
        self.journal.close()
        self.journal = Journal(self.folder / "journal.db")
        self._write_fails(self.fails)
        self.ledger = Ledger(self.journal, RULES, runbooks.hash_of(RULES.runbooks), lambda _actions: None)
        self.ledger.load()
        answers: list[str] = []
        self.answered.append(answers)
        watch = Watch(RULES.policy, self.now)
        self.inbox = Inbox(
            self.ledger, watch, lambda _node, done: answers.append(done.order), lambda: self.now
        )
        if self.agents:
            self._hello()

    def agent_starts(self, *_: int) -> None:
        """The next agent tells again what the one before it could not get rid of."""
        owed = self.agent.owed if self.agents else {}
        self.boots += 1
        self.agent = Agent(f"kernel-{self.boots}", self.folder, owed)
        self.agents[self.agent.boot] = self.agent
        self._hello()

    def _hello(self) -> None:
        self.inbox.hear(Hello(NODE, self.agent.boot, "127.0.0.1", 1, 8))

    def tells(self, kind: int) -> None:
        for event in self._events(kind % 12):
            self.agent.tell(event)

    def _events(self, kind: int) -> Iterator[Event]:
        self.made += 1
        name = f"e{self.made}"
        match kind:
            case 0:
                yield from (ProbedSeen((), f"{name}-{n}") for n in range(MANY))
            case 1 | 2 | 3:
                burst = f"b{kind}"
                self.bursts[burst] = self.bursts.get(burst, 0) + 1
                yield seen(burst, burst, self.bursts[burst])
            case 4:
                self.unreadable.add(name)
                yield Unreadable(name)
            case 5:
                yield OrderDone(name, True, "")
            case 6:
                yield ProbedSeen((), name)
            case _:
                yield seen(name)

    def sends(self, *_: int) -> None:
        self.wire.append(self.agent.report())

    def arrives(self, which: int) -> None:
        """Any report that is under way arrives, in whatever order; one from a stale connection, too."""
        if self.wire:
            self._hears(self.wire.pop(which % len(self.wire)))

    def arrives_twice(self, which: int) -> None:
        if self.wire:
            self._hears(self.wire[which % len(self.wire)])

    def _hears(self, report: Report) -> None:
        self.now += 1.0
        answer = self.inbox.hear(report)
        if isinstance(answer, Ack):
            self.acks.append(answer)

    def is_lost(self, which: int) -> None:
        if self.wire:
            self.wire.pop(which % len(self.wire))

    def is_acknowledged(self, which: int) -> None:
        """Any acknowledgement reaches the agent that is there now, also one for the agent before it."""
        if self.acks:
            before = dict(self.agent.owed)
            self.agent.obey(self.acks.pop(which % len(self.acks)))
            gone = {name_of(event) for key, event in before.items() if key not in self.agent.owed}
            assert gone <= self.heard(), "what an agent lets go of was heard, and is in the journal"

    def ack_is_lost(self, which: int) -> None:
        if self.acks:
            self.acks.pop(which % len(self.acks))

    def snapshot(self, *_: int) -> None:
        self.ledger.save()

    def journal_fails(self, *_: int) -> None:
        self.fails = not self.fails
        self._write_fails(self.fails)

    def _write_fails(self, fails: bool) -> None:
        self.journal._db.execute(f"PRAGMA query_only={int(fails)}")

    # --- what came of it -------------------------------------------------------------------------------

    def settle(self) -> None:
        """All works again, until there is nothing more to tell."""
        self.fails = False
        self._write_fails(False)
        for _ in range(100):
            self.sends()
            self._hears(self.wire.pop())
            self.is_acknowledged(-1)
            if not self.agent.spool:
                return
        raise AssertionError("an agent never gets rid of what it has to tell")

    def facts(self) -> list[Any]:
        """Every fact of the journal that was an agent's event."""
        return [line.fact for line in self.journal.lines() if getattr(line.fact, "origin", None)]

    def heard(self) -> set[str]:
        """Give all that was heard; what becomes no fact is in no journal."""
        return {*map(name_of, self.facts()), *self.unreadable, *chain.from_iterable(self.answered)}

    def by_agent(self) -> dict[str, list[Any]]:
        facts: dict[str, list[Any]] = {boot: [] for boot in self.agents}
        for fact in self.facts():
            origin: Origin = fact.origin
            facts[origin.epoch].append(fact)
        return facts

    def close(self) -> None:
        self.journal.close()
