"""Xids from the management library: only a number and a GPU."""

from collections.abc import Sequence

import pytest

from sentinel.checks import xid_event
from sentinel.model.check import DriverXid, Machine
from sentinel.model.finding import Finding, Health
from sentinel.runtime.probe import NoGpus


class Told:
    def __init__(self, *xids: int) -> None:
        self._xids = xids

    def take(self) -> Sequence[DriverXid]:
        return [DriverXid(3, "00000000:5D:00.0", each) for each in self._xids]


def findings(*xids: int) -> list[Finding]:
    machine = Machine("n", NoGpus(), None, driver_events=Told(*xids))
    return list(xid_event.judge(xid_event.measure(machine)))


@pytest.mark.parametrize(
    ("code", "health"),
    [
        (31, Health.WARNING),
        (79, Health.CRITICAL),
        (999, Health.UNKNOWN),
        (74, Health.UNKNOWN),
        (149, Health.UNKNOWN),
        (154, Health.UNKNOWN),
    ],
)
def test_it_is_judged_by_its_number_where_that_says_enough(code: int, health: Health) -> None:
    (found,) = findings(code)
    assert (found.code, found.component, found.health) == (f"xid-{code}", "gpu-3", health)
    assert found.event
    assert found.evidence["owner"] == "unknown"


def test_no_driver_is_no_opinion() -> None:
    (found,) = xid_event.judge(xid_event.measure(Machine("n", NoGpus(), None)))
    assert (found.code, found.health) == ("not-applicable", Health.SKIPPED)
