"""Just enough of Ray for the ray link: references are futures, actors answer when a test says so."""

import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, wait
from types import SimpleNamespace
from typing import Any

from sentinel import logs
from sentinel.backends.ray import link_process
from sentinel.backends.ray.hands import RayHands
from sentinel.backends.ray.pending import Pending
from sentinel.gang.orders import WorkerStatus, pack

Ref = Future[Any]


class RayError(Exception):
    """Whatever Ray raises."""


class ActorUnavailableError(RayError):
    """The connection to an actor was lost."""


class GetTimeoutError(RayError, TimeoutError):
    """Nothing came in time."""


def answered(value: Any) -> Ref:
    """Give a reference whose value is there already."""
    ref: Ref = Future()
    ref.set_result(value)
    return ref


def failed(message: str, kind: type[RayError] = RayError) -> Ref:
    """Give a reference to what raised."""
    ref: Ref = Future()
    ref.set_exception(kind(message))
    return ref


def in_turn(*refs: Ref) -> Any:
    """Give a call whose answers come one after the other, the last one again and again."""
    left = list(refs)
    return SimpleNamespace(remote=lambda *_: left.pop(0) if len(left) > 1 else left[0])


class Actor:
    """A worker, whose calls give these references."""

    def __init__(self, **calls: Ref) -> None:
        for name, ref in calls.items():
            setattr(self, name, SimpleNamespace(remote=lambda *_arguments, ref=ref: ref))


class FakeRay:
    """One driver's Ray."""

    exceptions = SimpleNamespace(
        RayError=RayError, GetTimeoutError=GetTimeoutError, ActorUnavailableError=ActorUnavailableError
    )

    def __init__(self, warm_s: float = 0.0) -> None:
        self.warm_s = warm_s
        self.named: dict[str, Actor] = {}
        self.killed: list[str] = []
        self.draining: dict[str, int] = {}
        """Until when nodes are drained, by their ids: epoch milliseconds."""
        state = SimpleNamespace(get_draining_nodes=lambda: self.draining)
        self._private = SimpleNamespace(state=SimpleNamespace(state=state))

    def nodes(self) -> list[dict[str, Any]]:
        """List one node."""
        place = {"NodeManagerAddress": "127.0.0.1", "NodeManagerPort": 1, "Resources": {}}
        return [{"NodeName": "n1", "NodeID": "ab" * 28, "Alive": True, **place}]

    def remote(self, _class: type[Any]) -> Any:
        """Make actors of a class: they are warm after `warm_s`, and never if their name says `slow`."""

        def with_options(**options: Any) -> Any:
            return SimpleNamespace(remote=lambda *_: self._start(options))

        return SimpleNamespace(options=with_options)

    def _start(self, options: dict[str, Any]) -> Actor:
        status = Ref()
        if "slow" not in options["name"]:
            threading.Timer(self.warm_s, status.set_result, [pack(WorkerStatus(1, -1, -1))]).start()
        return self.named.setdefault(options["name"], Actor(status=status))

    def wait(self, refs: Sequence[Ref], num_returns: int = 1, timeout: float | None = None) -> Any:
        """Split references into those that are there, `num_returns` at most, and the others."""
        until = FIRST_COMPLETED if num_returns == 1 else ALL_COMPLETED
        done = [ref for ref in refs if ref in wait(refs, timeout, until).done][:num_returns]
        return done, [ref for ref in refs if ref not in done]

    def get(self, ref: Ref | list[Ref], timeout: float | None = None) -> Any:
        """Give the value, or raise what was raised."""
        if isinstance(ref, list):
            return [self.get(each, timeout) for each in ref]
        try:
            return ref.result(timeout)
        except TimeoutError:
            raise GetTimeoutError from None

    def get_actor(self, name: str, namespace: str) -> Actor:
        """Find an actor. Raises ValueError."""
        try:
            return self.named[name]
        except KeyError:
            raise ValueError(f"no actor {name!r}") from None

    def kill(self, actor: Actor, *, no_restart: bool) -> None:
        """End an actor."""
        assert no_restart
        self.killed += [name for name, known in self.named.items() if known is actor]
        self.named = {name: known for name, known in self.named.items() if known is not actor}


def hands_of(ray: FakeRay) -> RayHands:
    """Join a Ray that is no real one."""
    hands = object.__new__(RayHands)
    hands._ray, hands._handles, hands._stopped, hands._pending = ray, {}, set(), Pending(ray)
    return hands


if __name__ == "__main__":
    logs.to_stdout()
    link_process.RayHands = lambda _address: hands_of(FakeRay(float(sys.argv[2])))  # type: ignore[assignment, misc]
    link_process.serve(sys.argv[1], "no:1")
