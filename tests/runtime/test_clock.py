"""The controller's clock: whatever happens to the machine's, deadlines pass and silence grows."""

import time

import pytest

from sentinel.runtime.controller import Clock


@pytest.mark.parametrize("jump", [-3600.0, 3600.0])
def test_a_machine_whose_clock_is_set_changes_nothing(jump: float, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, machine = Clock(), time.time
    before = clock()
    monkeypatch.setattr(time, "time", lambda: machine() + jump)
    time.sleep(0.01)
    assert 0 < clock() - before < 60


def test_a_controller_goes_on_after_the_last_moment_in_its_journal() -> None:
    ahead = time.time() + 3600
    clock = Clock(ahead)
    assert clock() >= ahead
    time.sleep(0.01)
    assert clock() > ahead
