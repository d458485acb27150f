"""A line that comes again and again is one event with a count, and hides nothing else."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from msgspec.structs import replace

from sentinel import checks
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.report import Event, FindingSeen, ProbedSeen
from sentinel.rehearse.machine import Agent, Node, gpu
from sentinel.runtime.agent.bursts import KINDS, LASTS, OVERFLOW, QUIET
from sentinel.runtime.agent.findings import FindingBook
from sentinel.runtime.agent.spool import Spool

CHECKS = {name: check for name, check in checks.load().items() if name in ("xid", "oom", "host")}
MMU = "MMU Fault: ENGINE GRAPHICS GPCCLIENT_T1_0 faulted @ 0x7fab_12345000"
XID = Finding("xid", "xid-31", "gpu-0", Health.WARNING, "Xid 31", {"line": "Xid 31"}, event=True)


def xid(number: int = 31, pid: int = 77, pci: str = "0000:01:00", stamp: float | None = None) -> str:
    head = "" if stamp is None else f"[{stamp:12.6f}] "
    return f"{head}NVRM: Xid (PCI:{pci}): {number}, pid={pid}, name=python3, {MMU}"


class Watched:
    """A node whose kernel log gains lines, its agent, and what the controller hears of it."""

    def __init__(self, root: Path) -> None:
        self._root, self.now, self.is_heard = root, 1000.0, True
        log = root / "kern.log"
        log.touch()
        self.node = Node(NodeId("n1"), "10.0.0.1", log, [gpu(0, "n1"), gpu(1, "n1")])
        self.heard: list[Finding] = []
        self.entries = 0
        self.start()

    def start(self) -> None:
        """Let the next agent take over from one that was killed."""
        self.agent = Agent(
            self.node, "boot", CHECKS, self._root / "memory", beats=tuple, now=lambda: self.now
        )

    def lines(self, lines: Iterable[str], *, seconds: float = 0.0, turns: int = 1) -> None:
        """Let the log gain lines, over so many seconds in so many turns."""
        every = list(lines)
        each = -(-len(every) // turns)
        for turn in range(turns):
            self.node.say(every[turn * each : (turn + 1) * each])
            self.turn(seconds / turns)

    def turn(self, seconds: float = 0.0) -> None:
        """Let time pass, then the agent read on to the end, and the controller hear of it."""
        self.now += seconds
        before = self.agent.spool.added
        self.agent.turn(self.now)
        while self.agent._follower.behind:
            self.agent.turn(self.now)
        self.entries += self.agent.spool.added - before
        if self.is_heard:
            self.hear()
            self.agent.turn(self.now)

    def hear(self) -> None:
        """Take in and acknowledge everything."""
        while pending := self.agent.spool.pending():
            self.heard += [event.finding for _, event in pending if isinstance(event, FindingSeen)]
            self.agent.spool.acknowledge(pending[-1][0])

    def counts(self) -> dict[str, list[int]]:
        """Give how often what is counted was said to have happened: code and component → every burst."""
        newest = {each.burst: each for each in self.heard if each.event}
        counts: dict[str, list[int]] = {}
        for each in newest.values():
            counts.setdefault(f"{each.code} {each.component}", []).append(each.count)
        return counts


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


ALIKE = {
    "equal lines": lambda n: xid(),
    "times differ": lambda n: xid(stamp=100 + n / 1000),
    "times and pids differ": lambda n: xid(pid=1000 + n, stamp=100 + n / 1000),
    "only pids differ": lambda n: xid(pid=1000 + n),
}
alike = pytest.mark.parametrize("line", [pytest.param(line, id=name) for name, line in ALIKE.items()])


@alike
@pytest.mark.parametrize("turns", [1, 25])
def test_thousands_of_alike_lines_are_one_event(watched: Watched, line: object, turns: int) -> None:
    lines = [line(number) for number in range(5000)]  # type: ignore[operator]
    watched.lines(lines, seconds=5.0, turns=turns)
    first = watched.heard[0]
    assert (first.code, first.evidence["line"]) == ("xid-31", lines[0])
    watched.turn(QUIET + 1)
    assert watched.counts() == {"xid-31 gpu-0": [5000]}
    assert watched.entries <= 5
    last = watched.heard[-1]
    assert last.evidence["line"] == lines[0]
    assert last.evidence["last_line"] == lines[-1]


def test_a_few_lines_of_one_fault_are_told_in_one(watched: Watched) -> None:
    watched.lines([xid(stamp=7.0), xid(stamp=7.001), xid(stamp=7.002)])
    watched.turn(60)
    assert [(each.code, each.count) for each in watched.heard] == [("xid-31", 3)]


def test_interleaved_kinds_and_gpus_are_counted_apart(watched: Watched) -> None:
    kinds = [xid(), xid(13), xid(pci="0000:02:00"), xid(31), "Out of memory: Killed process 7 (stress)"]
    watched.lines(kinds * 1000, seconds=5.0, turns=10)
    watched.turn(QUIET + 1)
    assert watched.counts() == {
        "xid-31 gpu-0": [2000],
        "xid-13 gpu-0": [1000],
        "xid-31 gpu-1": [1000],
        "oom-kill memory": [1000],
    }


@pytest.mark.parametrize("stamped", [True, False])
@pytest.mark.parametrize(("pause", "bursts"), [(QUIET - 1, [8]), (QUIET + 1, [4, 4])])
def test_what_comes_after_a_quiet_while_is_a_new_event(
    watched: Watched, stamped: bool, pause: float, bursts: list[int]
) -> None:
    for _ in range(2):
        watched.lines([xid(stamp=watched.now if stamped else None)] * 4, seconds=pause)
    watched.turn(QUIET + 1)
    assert watched.counts() == {"xid-31 gpu-0": bursts}


def test_an_agent_that_was_held_up_tells_faults_apart_by_the_kernel_s_time(watched: Watched) -> None:
    watched.lines([xid(stamp=100.0), xid(stamp=101.0), xid(stamp=500.0)])
    watched.turn(60)
    watched.lines([xid(stamp=501.0)])
    watched.turn(60)
    assert watched.counts() == {"xid-31 gpu-0": [2, 2]}


@pytest.mark.parametrize("date", ["Apr {} 12:00:07 n1 kernel: ", "2026-04-{}T12:00:07+00:00 n1 kernel: "])
def test_faults_of_different_days_that_are_read_in_one_go_are_told_apart(watched: Watched, date: str) -> None:
    lines = [date.format(day) + xid(pid=day) for day in (12, 12, 12, 14, 15, 15)]
    watched.lines(lines)
    watched.turn(60)
    assert watched.counts() == {"xid-31 gpu-0": [3, 1, 2]}


def test_a_storm_that_never_ends_is_told_anew_now_and_then(watched: Watched) -> None:
    for _ in range(int(LASTS / 4)):
        watched.lines([xid()], seconds=8.0)
    assert len(watched.counts()["xid-31 gpu-0"]) == 2
    assert watched.entries < 150


@alike
@pytest.mark.parametrize("is_heard", [True, False])
@pytest.mark.parametrize("killed", [{1}, {7}, {0, 1, 2, 12}, set(range(20))])
def test_a_storm_goes_on_over_an_agent_s_restart_and_nothing_is_counted_twice(
    watched: Watched, line: object, is_heard: bool, killed: set[int]
) -> None:
    watched.is_heard = is_heard
    for turn in range(20):
        watched.lines([line(number) for number in range(turn * 10, turn * 10 + 10)], seconds=0.3)  # type: ignore[operator]
        if turn in killed:
            watched.start()
            watched.turn()
    watched.is_heard = True
    watched.turn()
    watched.turn(QUIET + 1)
    assert watched.counts() == {"xid-31 gpu-0": [200]}


def test_what_two_agents_told_of_one_event_has_one_name(watched: Watched) -> None:
    for _ in range(2):
        watched.is_heard = True
        watched.lines([xid(stamp=50.0 + watched.now)])
        watched.is_heard = False
        watched.lines([xid(13, stamp=50.0 + watched.now)])
        unheard = [event for _, event in watched.agent.spool.pending()]
        watched.start()
        watched.turn()
        again = [event for _, event in watched.agent.spool.pending()]
        assert [_named(each) for each in unheard] == [_named(each) for each in again]
        watched.hear()
        watched.turn(60)


def _named(event: Event) -> tuple[str, str]:
    assert isinstance(event, FindingSeen)
    return event.finding.code, event.finding.burst


def test_while_the_controller_is_away_a_storm_pushes_nothing_out_of_the_spool(watched: Watched) -> None:
    watched.is_heard = False
    watched.lines([xid(79, pci="0000:02:00")])
    watched.agent.probed("exit:1")
    for turn in range(100):
        lines = [xid(pid=n, stamp=100 + turn + n / 1000) for n in range(50)]
        watched.lines([*lines, *(line.replace("31,", "13,") for line in lines)], seconds=1.0)
    assert len(watched.agent.spool) == 4
    assert watched.agent.spool.dropped == 0
    events = [event for _, event in watched.agent.spool.pending()]
    assert isinstance(events[1], ProbedSeen)
    watched.is_heard = True
    watched.turn(60)
    assert watched.counts() == {"xid-79 gpu-1": [1], "xid-31 gpu-0": [5000], "xid-13 gpu-0": [5000]}


def test_an_immediate_probe_tells_what_was_only_counted(watched: Watched) -> None:
    watched.lines([xid()])
    watched.lines([xid()] * 9, seconds=0.1)
    assert watched.counts() == {"xid-31 gpu-0": [1]}
    watched.agent.look(watched.now, in_agent=True)
    watched.hear()
    assert watched.counts() == {"xid-31 gpu-0": [10]}


# --- the book and the spool alone ----------------------------------------------------------------------


def test_what_is_written_of_states_in_between_moves_no_count(tmp_path: Path) -> None:
    """The bookmark in the log did not move: the next agent reads the same lines again."""
    book = FindingBook(tmp_path / "findings.json")
    book.update("xid", [XID] * 5, 0.0)
    book.settle()
    for number in range(3):
        book = FindingBook(tmp_path / "findings.json")
        book.update("xid", [XID] * 5, 0.5)
        book.update("host", [replace(XID, check="host", code=f"full-{number}", event=False)], 1.0)
    (reported,) = book.counted(60.0)
    assert reported.count == 10


def kill(pid: int, owner: str = "") -> Finding:
    line = f"Out of memory: Killed process {pid} (python3)"
    evidence = {"pid": pid, "line": line, **({"owner": owner} if owner else {})}
    return Finding("oom", "oom-kill", "memory", Health.WARNING, line, evidence, event=True)


def test_a_rank_that_is_killed_in_a_storm_of_strangers_kills_is_told_at_once(tmp_path: Path) -> None:
    book = FindingBook(tmp_path / "findings.json")
    (first,) = book.update("oom", [kill(pid) for pid in range(100)], 0.0)
    assert first.count == 100
    (ours,) = book.update("oom", [kill(500), kill(42, "ours"), kill(501)], 0.1)
    assert (ours.evidence["pid"], ours.count) == (42, 1)
    (other,) = book.update("oom", [kill(502), kill(43, "ours"), kill(43, "ours")], 0.2)
    assert (other.evidence["pid"], other.count) == (43, 2)


@pytest.mark.parametrize(("part", "values"), [("place", ("GPC 0 TPC 1", "GPC 0 TPC 2")), ("rank", (0, 1))])
def test_parts_of_a_gpu_and_ranks_are_told_apart(
    tmp_path: Path, part: str, values: tuple[str | int, ...]
) -> None:
    book = FindingBook(tmp_path / "findings.json")
    kinds = [replace(XID, evidence={**XID.evidence, part: value}) for value in values]
    reported = book.update("xid", kinds * 50, 0.0)
    assert [(each.evidence[part], each.count) for each in reported] == [(value, 50) for value in values]


def test_an_event_is_never_cleared_and_states_go_their_own_way(tmp_path: Path) -> None:
    book = FindingBook(tmp_path / "findings.json")
    hot = Finding("xid", "kernel-log-unreadable", "kernel-log", Health.UNKNOWN, "no")
    assert [each.code for each in book.update("xid", [XID, hot], 0.0)] == [hot.code, XID.code]
    assert [each.health for each in book.update("xid", [], 1.0)] == [Health.OK]
    assert book.update("xid", [], 2.0) == []


def test_29_kinds_in_a_storm_are_all_told(tmp_path: Path) -> None:
    book = FindingBook(tmp_path / "findings.json")
    kinds = [replace(XID, code=f"xid-{number}") for number in range(29)]
    assert {each.code for each in book.update("xid", kinds * 100, 0.0)} == {each.code for each in kinds}


def test_more_kinds_than_can_be_told_apart_are_counted_and_said(tmp_path: Path) -> None:
    book = FindingBook(tmp_path / "findings.json")
    noise = [replace(XID, component=f"pci:{number}") for number in range(KINDS + 1000)]
    reported = [*book.update("xid", noise[:200], 0.0), *book.update("xid", noise[200:], 0.1)]
    assert len(reported) == KINDS + 1
    assert (reported[-1].code, reported[-1].count, reported[-1].health) == (OVERFLOW, 1000, Health.UNKNOWN)
    book.settle()
    assert (tmp_path / "findings.json").stat().st_size < 1000 * KINDS


def test_what_is_critical_is_told_whatever_noise_there_is(tmp_path: Path) -> None:
    book = FindingBook(tmp_path / "findings.json")
    book.update("xid", [replace(XID, component=f"pci:{number}") for number in range(2 * KINDS)], 0.0)
    lost = replace(XID, code="xid-79", health=Health.CRITICAL)
    (reported,) = book.update("xid", [lost], 0.1)
    assert reported.code == "xid-79"


def test_kinds_that_are_over_make_room(tmp_path: Path) -> None:
    book = FindingBook(tmp_path / "findings.json")
    for number in range(3 * KINDS):
        (reported,) = book.update("xid", [replace(XID, component=f"pci:{number}")], number)
        assert reported.code == "xid-31"


def test_what_comes_again_after_it_made_room_is_told_under_another_name(tmp_path: Path) -> None:
    book = FindingBook(tmp_path / "findings.json")
    (first,) = book.update("xid", [XID], 0.0)
    for number in range(2 * KINDS):
        book.update("xid", [replace(XID, component=f"pci:{number}")], 1.0 + number)
    (again,) = book.update("xid", [XID], 9999.0)
    assert again.burst != first.burst


def seen(count: int, burst: str = "b") -> FindingSeen:
    return FindingSeen(replace(XID, burst=burst, count=count))


def numbered(spool: Spool) -> list[tuple[int, int]]:
    return [(n, e.finding.count) for n, e in spool.pending() if isinstance(e, FindingSeen)]


def test_what_was_not_sent_is_superseded_where_it_stands() -> None:
    spool = Spool()
    spool.add(seen(1))
    spool.add(ProbedSeen((), "exit"))
    spool.add(seen(7))
    assert numbered(spool) == [(1, 7)]
    assert (len(spool), spool.added) == (2, 2)


def test_of_what_was_sent_the_first_keeps_its_place_and_the_newest_a_new_number() -> None:
    spool = Spool()
    for count in (1, 5, 9, 12):
        spool.add(seen(count))
        spool.add(seen(1, "another"))
        spool.pending()
    assert [n for n, _ in spool.pending()] == sorted(n for n, _ in spool.pending())
    assert [count for _, count in numbered(spool) if count > 1] == [12]
    assert numbered(spool)[0] == (1, 1)
    assert len(spool) == 4
    spool.acknowledge(numbered(spool)[-1][0])
    spool.add(seen(20))
    assert [count for _, count in numbered(spool)] == [20]


def test_an_acknowledgement_of_an_older_telling_forgets_no_newer_one() -> None:
    spool = Spool()
    spool.add(seen(1))
    assert numbered(spool) == [(1, 1)]
    spool.add(seen(5))
    spool.acknowledge(1)
    assert numbered(spool) == [(2, 5)]
