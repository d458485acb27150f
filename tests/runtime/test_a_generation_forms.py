"""The ray link waits for a generation as long as its members load, and no longer once one has failed."""

import threading
import time
from typing import Any

import pytest
from fake_ray import Actor, FakeRay, Ref, answered, failed, link_to

from sentinel.runtime import ray_link

NOWHERE: dict[str, Any] = {"holders": [], "peer": None, "hosted": [], "held": []}


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("CALL_TIMEOUT_S", 0.2), ("STUCK_AFTER_S", 0.1), ("ALIVE_S", 0.1)):
        monkeypatch.setattr(ray_link, name, seconds)


def member(form: Ref, *, lives: bool = True) -> Actor:
    status = answered({"pid": 1, "step": -1, "generation": 2}) if lives else Ref()
    return Actor(form=form, status=status, serve_store=answered(4711))


def form(members: dict[str, Actor], within_s: float = 60.0) -> dict[str, Any]:
    ray = FakeRay()
    ray.named = {f"train.{name}": actor for name, actor in members.items()}
    seats = [
        {"worker": name, "rank": rank, "gpu": 0, "address": "127.0.0.1", **NOWHERE}
        for rank, name in enumerate(members)
    ]
    order = {"generation": 2, "world": len(members), "skip": [], "within_s": within_s}
    return link_to(ray).form("train", order, seats, None)


def test_members_that_load_for_long_are_waited_for() -> None:
    slow = Ref()
    threading.Timer(1.0, slow.set_result, [{"step": 7}]).start()
    told = form({"w1": member(answered({"step": 7})), "w2": member(slow)})
    assert told == {"formed": [{"step": 7}] * 2, "failed": "", "stuck": []}


def test_once_one_has_failed_those_that_stay_silent_are_stuck() -> None:
    began = time.monotonic()
    told = form({"w1": member(Ref()), "w2": member(failed("it died")), "w3": member(answered({"step": 7}))})
    assert told == {"formed": [{"step": 7}], "failed": "RayError: it died", "stuck": ["w1"]}
    assert time.monotonic() - began < 1.0


def test_a_process_that_says_nothing_at_all_is_stuck_and_one_that_loads_is_not() -> None:
    told = form({"w1": member(Ref()), "w2": member(Ref(), lives=False)})
    assert told == {"formed": [], "failed": "no answer in time", "stuck": ["w2"]}


def test_nobody_loads_for_ever() -> None:
    told = form({"w1": member(Ref()), "w2": member(answered({"step": 7}))}, within_s=0.3)
    assert told == {"formed": [{"step": 7}], "failed": "no answer in time", "stuck": ["w1"]}
