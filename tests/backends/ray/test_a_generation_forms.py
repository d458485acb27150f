"""The ray link waits for a generation as long as its members load, and no longer once one has failed."""

import threading
import time
from types import SimpleNamespace

import pytest
from fake_ray import Actor, ActorUnavailableError, FakeRay, Ref, answered, failed, hands_of, in_turn

from sentinel.backends.port import Attempt, Member, Pause
from sentinel.backends.ray import hands
from sentinel.backends.ray.requests import Form
from sentinel.gang.orders import Formed, FormOrder, WorkerStatus, pack, unpack
from sentinel.model.ids import JobId, WorkerId

FORMED = Formed(2, 7, "memory", 0)


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (
        ("CALL_TIMEOUT_S", 0.2),
        ("STUCK_AFTER_S", 0.1),
        ("ALIVE_S", 0.1),
        ("AGAIN_S", 0.01),
    ):
        monkeypatch.setattr(hands, name, seconds)


def member(form: Ref, *, lives: bool = True) -> Actor:
    status = answered(pack(WorkerStatus(1, -1, 2))) if lives else Ref()
    return Actor(form=form, status=status, serve_store=answered(4711))


def form(members: dict[str, Actor], within_s: float = 60.0) -> Attempt:
    ray = FakeRay()
    ray.named = {f"train.{name}": actor for name, actor in members.items()}
    orders = (
        FormOrder(2, rank, len(members), 0, ("127.0.0.1", 0), (), None, within_s=within_s)
        for rank in range(len(members))
    )
    asked = Form(JobId("train"), tuple(map(Member, map(WorkerId, members), orders)))
    return hands_of(ray).form(asked)


def test_members_that_load_for_long_are_waited_for() -> None:
    slow = Ref()
    threading.Timer(1.0, slow.set_result, [pack(FORMED)]).start()
    attempt = form({"w1": member(answered(pack(FORMED))), "w2": member(slow)})
    assert attempt == Attempt((FORMED, FORMED), "", ())


def test_once_one_has_failed_those_that_stay_silent_are_stuck() -> None:
    began = time.monotonic()
    attempt = form(
        {"w1": member(Ref()), "w2": member(failed("it died")), "w3": member(answered(pack(FORMED)))}
    )
    assert attempt == Attempt((FORMED,), "RayError: it died", (WorkerId("w1"),))
    assert time.monotonic() - began < 1.0


def test_a_process_that_says_nothing_at_all_is_stuck_and_one_that_loads_is_not() -> None:
    attempt = form({"w1": member(Ref()), "w2": member(Ref(), lives=False)})
    assert attempt == Attempt((), "no answer in time", (WorkerId("w2"),))


def test_nobody_loads_for_ever() -> None:
    attempt = form({"w1": member(Ref()), "w2": member(answered(pack(FORMED)))}, within_s=0.3)
    assert attempt == Attempt((FORMED,), "no answer in time", (WorkerId("w1"),))


def test_every_member_is_told_where_the_store_is_and_reads_the_rest_as_it_was_given() -> None:
    attempt: list[bytes] = []
    worker = member(answered(pack(FORMED)))
    worker.form = SimpleNamespace(remote=lambda order: attempt.append(order) or answered(pack(FORMED)))
    form({"w1": worker})
    assert unpack(FormOrder, attempt[0]) == FormOrder(
        2, 0, 1, 0, ("127.0.0.1", 4711), (), None, within_s=60.0
    )


def test_a_worker_that_answers_nonsense_has_failed() -> None:
    attempt = form({"w1": member(answered(b"\x81\xa4type\xa1x")), "w2": member(answered(pack(FORMED)))})
    assert attempt.formed == (FORMED,)
    assert attempt.failed.startswith("ValidationError: Invalid value 'x'")


def cut() -> Ref:
    return failed("Socket closed", ActorUnavailableError)


@pytest.mark.parametrize("call", ["form", "serve_store"])
def test_a_member_to_whom_the_connection_was_lost_is_asked_again_and_nobody_is_replaced(call: str) -> None:
    """Its process lives, and has done or does what was asked."""
    first, second = member(answered(pack(FORMED))), member(answered(pack(FORMED)))
    answer = answered(pack(FORMED) if call == "form" else 4711)
    setattr(first, call, in_turn(cut(), cut(), answer))
    assert form({"w1": first, "w2": second}) == Attempt((FORMED, FORMED), "", ())


def test_a_member_that_can_t_be_reached_again_and_again_has_failed() -> None:
    attempt = form({"w1": member(cut()), "w2": member(answered(pack(FORMED)))})
    assert attempt == Attempt((FORMED,), "ActorUnavailableError: Socket closed", ())


def test_a_gang_to_whose_members_the_connection_was_lost_stands_all_the_same() -> None:
    ray, actor = FakeRay(), Actor()
    actor.pause = in_turn(cut(), answered(True))  # type: ignore[attr-defined]
    ray.named = {"train.w1": actor}
    hands_of(ray)._stand(JobId("train"), Pause(1, (WorkerId("w1"),), saves=False))


def test_a_store_that_nobody_opens_is_no_generation() -> None:
    closed = member(answered(pack(FORMED)))
    closed.serve_store = in_turn(cut())  # type: ignore[attr-defined]
    with pytest.raises(ActorUnavailableError):
        form({"w1": closed})
