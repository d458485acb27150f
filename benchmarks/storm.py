"""What a storm of kernel lines costs, from the file to the committed decision, and who else waits for it.

    python -m benchmarks.storm [--lines 5000] [--each-turn 200]

A real file is followed, judged, told and spooled as in an agent; the report is packed, unpacked, watched,
folded and committed as in a controller. After half of the lines a rank on another node is killed.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.decide import JOB
from benchmarks.journal import Desk
from sentinel.adapters.kernel_log import FileFollower
from sentinel.checks import load
from sentinel.core.detect.watch import Watch
from sentinel.model.action import Action, Page, Resume
from sentinel.model.check import Machine
from sentinel.model.codec import decode, encode
from sentinel.model.fact import DeadlinePassed, JobAdvanced
from sentinel.model.finding import Finding
from sentinel.model.report import ExitSeen, FindingSeen, ProbedSeen, Report
from sentinel.runtime.agent.findings import FindingBook
from sentinel.runtime.agent.spool import Spool
from sentinel.runtime.probe import NoGpus, probe

TURN_S = 0.1
PCI = {"0000:01:00": 0}
XID_95 = "NVRM: Xid (PCI:0000:01:00): 95, pid={pid}, name=python3, Uncontained: LTC TAG (0x2,0x0)"
OOM = "Out of memory: Killed process {pid} (stress) total-vm:104kB, anon-rss:4kB, UID:0 pgtables:4kB"
KINDS = [31, 13, 43, 45, 48, 61, 62, 63, 64, 68, 69, 74, 79, 92, 94, 95, 109, 119, 120, 121, 122, 123]
STORMS: dict[str, Callable[[int], str]] = {
    "one Xid, equal lines": lambda _: XID_95.format(pid=77),
    "one Xid, times and pids differ": lambda n: f"[{100 + n / 1e3:12.6f}] {XID_95.format(pid=1000 + n)}",
    "22 kinds interleaved": lambda n: XID_95.replace("95", str(KINDS[n % len(KINDS)])).format(pid=1000 + n),
    "OOM kills of strangers": lambda n: f"[{100 + n / 1e3:12.6f}] {OOM.format(pid=1000 + n)}",
}


@dataclass
class Totals:
    """What was counted on the way, and how long each part took."""

    entries: int = 0
    wire_bytes: int = 0
    facts: int = 0
    rows: int = 0
    pages: int = 0
    rescued_s: float = float("nan")
    """From the end of the other node's rank to the order to resume."""
    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, part: str, begun: float) -> None:
        """Add the time since then to a part's."""
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - begun


class Storm:
    """One node's agent in a storm, a controller, and another node whose rank is killed meanwhile."""

    def __init__(self, root: Path) -> None:
        self.totals = Totals()
        root.mkdir(exist_ok=True)
        self._log = root / "kern.log"
        self._log.touch()
        self._follower, self._checks = FileFollower(self._log), load()
        self._book, self._spool = FindingBook(root / "findings.json"), Spool()
        self._desk = Desk(root / "journal.db")
        self._desk.train(4, 1, 2)
        self._ledger, self._answer = self._desk.ledger, self._desk.ledger.perform
        self._ledger.perform = self._perform
        self._watch = Watch(self._ledger.rules.policy, self._desk.now)
        state = self._ledger.state
        self._victim, self._struck = (worker for _, worker in state.seated(state.jobs[JOB]))
        self._killed_at = 0.0

    def _perform(self, actions: tuple[Action, ...]) -> None:
        self._answer(actions)
        self.totals.pages += sum(isinstance(action, Page) for action in actions)
        if self._killed_at and any(isinstance(action, Resume) for action in actions):
            self.totals.rescued_s = time.perf_counter() - self._killed_at
            self._killed_at = 0.0

    def weather(self, lines: list[str], each_turn: int) -> Totals:
        """Let all lines come; the other node's report waits behind one of the storm's."""
        turns = [lines[at : at + each_turn] for at in range(0, len(lines), each_turn)]
        begun = time.perf_counter()
        for number, batch in enumerate(turns):
            if number == len(turns) // 2:
                elsewhere = self._kill()
                self._turn(batch)
                self._absorb(elsewhere)
            else:
                self._turn(batch)
        while len(self._spool) or self._follower.behind:
            self._turn([])
        self._desk.now += 60.0
        self._turn([])
        self.totals.seconds["in all"] = time.perf_counter() - begun
        self.totals.entries = self._spool.added
        self.totals.rows = self._ledger.journal.last_seq
        self._desk.journal.close()
        return self.totals

    def _turn(self, lines: list[str]) -> None:
        """Let the log gain lines; agent and controller each do their part once."""
        self._desk.now += TURN_S
        with self._log.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)
        begun = time.perf_counter()
        for finding in self._judged():
            self._spool.add(FindingSeen(finding))
        self.totals.timed("agent", begun)
        begun = time.perf_counter()
        packed = encode(Report(self._struck.node, "boot", 1, (), self._spool.pending()))
        heard: Report = decode(Report, packed)
        self.totals.timed("wire", begun)
        self.totals.wire_bytes += len(packed)
        self._absorb(heard)
        self._spool.acknowledge(max((number for number, _ in heard.events), default=0))

    def _judged(self) -> Iterator[Finding]:
        machine = Machine(self._struck.node, NoGpus(), 1, kernel_lines=tuple(self._follower.read()), pci=PCI)
        for name in ("xid", "oom"):
            answer = probe(self._checks[name], machine)
            yield from self._book.update(name, answer.findings, self._desk.now)

    def _absorb(self, report: Report) -> None:
        """Hear, fold and commit; what is done succeeds, and the job has no new step while the storm lasts."""
        begun = time.perf_counter()
        facts = self._watch.report(report, self._ledger.state, self._desk.now)
        self.totals.facts += len(facts)
        self._ledger.absorb(facts)
        while (due := self._ledger.state.next_deadline()) and due[0] <= self._desk.now + TURN_S:
            self._ledger.absorb([DeadlinePassed(due[0], due[1])])
        self._ledger.absorb([fact for fact in self._desk.answers() if not isinstance(fact, JobAdvanced)])
        self.totals.timed("watch, fold, journal", begun)

    def _kill(self) -> Report:
        """A rank of another node dies, and its agent says so."""
        job, worker = self._ledger.state.jobs[JOB], self._victim
        died = ExitSeen(JOB, worker.rank, worker.id, worker.pid, job.generation, worker.gpu, "signal 9")
        probed = ProbedSeen(("xid",), f"exit:{worker.pid}")
        self._killed_at = time.perf_counter()
        return Report(worker.node, "boot", 1, (), ((1, died), (2, probed)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=5_000)
    parser.add_argument("--each-turn", type=int, default=200)
    given = parser.parse_args()
    print(f"{given.lines} lines, {given.each_turn} a turn")
    for name, line in STORMS.items():
        with tempfile.TemporaryDirectory() as root:
            storm = Storm(Path(root))
            totals = storm.weather([line(number) for number in range(given.lines)], given.each_turn)
        parts = ", ".join(f"{part} {seconds:.2f}" for part, seconds in totals.seconds.items())
        print(f"\n{name}: {totals.entries} events told, {totals.wire_bytes} bytes of reports,")
        print(f"  {totals.facts} facts, {totals.rows} rows, {totals.pages} pages")
        print(f"  seconds: {parts}; the killed rank's job ordered on after {totals.rescued_s:.2f}")


if __name__ == "__main__":
    main()
