"""An Xid that both the kernel log and the management library tell of counts once."""

from dataclasses import replace

import pytest
from agent_node import Node

from sentinel.adapters.kernel_log import FileFollower
from sentinel.checks import load
from sentinel.model.finding import Finding, Health, skipped
from sentinel.model.report import FindingSeen
from sentinel.runtime.agent import settings
from sentinel.runtime.agent.findings import FindingBook
from sentinel.runtime.agent.probes import Probes
from sentinel.runtime.agent.told_twice import WITHIN, ToldTwice
from sentinel.runtime.probe import Answer


def line(xid: int = 31, pci: str = "0000:01:00") -> Finding:
    return Finding("xid", f"xid-{xid}", "gpu-0", Health.WARNING, "", {"xid": xid, "pci": pci}, event=True)


def event(xid: int = 31, pci: str = "00000000:01:00.0") -> Finding:
    evidence = {"xid": xid, "pci": pci, "owner": "unknown"}
    return Finding("xid_event", f"xid-{xid}", "gpu-0", Health.WARNING, "", evidence, event=True)


def told(once: ToldTwice, now: float, *events: Finding, log_is_read: bool = True) -> list[str]:
    return [each.code for each in once.new(events, now, log_is_read=log_is_read)]


def test_the_line_came_first() -> None:
    once = ToldTwice()
    once.hear([line()], 100.0)
    assert told(once, 104.0, event()) == []
    assert told(once, 109.0) == []


def test_the_line_came_later_as_a_syslog_daemon_writes_it() -> None:
    once = ToldTwice()
    assert told(once, 100.0, event()) == []
    once.hear([line()], 103.0)
    assert told(once, 105.0) == []


def test_no_line_came() -> None:
    once = ToldTwice()
    assert told(once, 100.0, event(), event()) == []
    assert told(once, 105.0) == ["xid-31", "xid-31"]
    assert told(once, 110.0) == []


def test_another_code_another_gpu_or_an_old_line_is_not_the_same() -> None:
    once = ToldTwice()
    once.hear([line(13), line(pci="0000:02:00")], 100.0)
    assert told(once, 101.0, event()) == []
    assert told(once, 106.0) == ["xid-31"]
    once.hear([line()], 200.0)
    assert told(once, 201.0 + WITHIN, event()) == []
    assert told(once, 206.0 + WITHIN) == ["xid-31"]


def test_where_no_log_is_read_it_is_told_at_once() -> None:
    assert told(ToldTwice(), 100.0, event(), log_is_read=False) == ["xid-31"]


def test_what_is_no_event_passes() -> None:
    assert told(ToldTwice(), 100.0, skipped("xid_event", "no driver")) == ["not-applicable"]


def test_the_operators_lists_count_for_it_too() -> None:
    once = ToldTwice(fatal=frozenset({31}), ignored=frozenset({43}))
    codes = told(once, 100.0, event(31), event(43), event(79), log_is_read=False)
    assert codes == ["xid-called-fatal", "xid-43-ignored", "xid-79"]


def test_an_agent_tells_of_each_once(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its prober's answers are put into its hands here; the kernel log is real."""
    given = settings.parse(["--controller", "tcp://127.0.0.1:1", "--keys", str(node.root), "--node", "n"])
    given = replace(given, gpus="none", expected_gpus=0, kernel_log=str(node.kernel_log), memory=node.memory)
    checks = {name: load()[name] for name in ("xid", "xid_event")}
    probes = Probes(given, checks, FindingBook(node.root / "findings.json"), FileFollower(node.kernel_log))
    answered: list[tuple[Finding, ...]] = []
    monkeypatch.setattr(
        probes.prober,
        "answers",
        lambda: [Answer("xid_event", False, answered.pop(0))] if answered else [],
    )

    def codes(now: float, *findings: Finding) -> list[str]:
        answered.append(findings)
        events = probes.take_answers(now, tuple)
        return [event.finding.code for event in events if isinstance(event, FindingSeen)]

    with node.kernel_log.open("a") as log:
        log.write("[9.0] NVRM: Xid (PCI:0000:01:00): 31, pid=7, name=python3, Ch 00000008\n")
    try:
        assert codes(100.0, event(31), event(79)) == ["xid-31"]
        assert codes(105.0) == ["xid-79"]
        assert codes(110.0) == []
    finally:
        probes.close()
