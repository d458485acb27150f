"""An Xid that both the kernel log and the management library tell of counts once."""

from sentinel.model.finding import Finding, Health, skipped
from sentinel.runtime.agent.told_twice import WITHIN, ToldTwice


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
