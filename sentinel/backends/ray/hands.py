"""What is done in Ray: workers and agents are started, asked and ended, generations formed."""

import contextlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import msgspec

from sentinel.backends.port import Attempt, Member, Pause
from sentinel.backends.ray.detach import launch_until_up
from sentinel.backends.ray.pending import Pending
from sentinel.backends.ray.requests import (
    EndWorkers,
    Form,
    RayNode,
    StartAgent,
    StartWorker,
    Statuses,
    StopWorker,
)
from sentinel.gang.orders import Formed, Overtaken, WorkerStatus, pack, unpack, unpack_formed
from sentinel.model.ids import JobId, NodeId, Seconds, WorkerId

NAMESPACE = "sentinel"
CALL_TIMEOUT_S = 30.0
STUCK_AFTER_S = 8.0
"""After a member failed the others notice within the 6 s that forming may take."""
ASKS = 3
"""How often an actor is asked whose connection is lost: leaving a group shuts Ray's down with it, and a slow
network breaks some. Its process lives, and no standby is to be spent on that."""
AGAIN_S = 0.2
ALIVE_S = 15.0
"""A process that loads may hold its interpreter for seconds, and answer nothing meanwhile."""

status_of = partial(unpack, WorkerStatus)


class RayHands:
    """The controller's hands in Ray; several threads may ask them at once."""

    def __init__(self, address: str) -> None:
        import ray

        self._ray = ray
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
        self._handles: dict[str, Any] = {}
        self._stopped: set[str] = set()
        """Workers that must not start any more; a name is given once."""
        self._pending = Pending(ray)

    def nodes(self) -> tuple[RayNode, ...]:
        """List the nodes that Ray knows."""
        drained = self._drained()
        return tuple(
            RayNode(
                node=node["NodeName"],
                id=node["NodeID"],
                alive=node["Alive"],
                address=node["NodeManagerAddress"],
                port=node["NodeManagerPort"],
                trains=_trains(node["Resources"]),
                drained_by=drained.get(node["NodeID"]),
            )
            for node in self._ray.nodes()
        )

    def _drained(self) -> dict[str, float]:
        """Say which nodes Ray is told to drain, by its ids, and until when (epoch seconds, 0 for no end)."""
        draining = self._ray._private.state.state.get_draining_nodes()
        return {node: deadline_ms / 1000 for node, deadline_ms in draining.items()}

    # --- workers

    def start_worker(self, asked: StartWorker) -> Future[WorkerStatus]:
        """Start a detached worker, or find the one that was started already; it answers once it is warm."""
        from sentinel.backends.ray.actor import RankActor

        name = f"{asked.spec.job}.{asked.worker}"
        if name in self._stopped:
            raise ValueError(f"{name} was to be stopped before it was to be started")
        options = {
            "name": name,
            "namespace": NAMESPACE,
            "lifetime": "detached",
            "get_if_exists": True,
            "max_restarts": 0,
            "max_concurrency": 8,
            "num_cpus": 0,
            "scheduling_strategy": self._on(asked.node),
        }
        made = self._ray.remote(RankActor).options(**options)
        actor = made.remote(pack(asked.spec), asked.worker, asked.memory, asked.gpu)
        self._handles[name] = actor
        kill = partial(self._ray.kill, actor, no_restart=True)
        if name in self._stopped:  # since the look above
            kill()
        return self._pending.answer(actor.status.remote(), status_of, f"{name} starts", asked.within_s, kill)

    def stop_worker(self, asked: StopWorker) -> None:
        """Kill a worker's actor; gone already is fine."""
        name = f"{asked.job}.{asked.worker}"
        self._stopped.add(name)
        with contextlib.suppress(ValueError):
            self._ray.kill(self._actor(asked.job, asked.worker), no_restart=True)
        self._handles.pop(name, None)

    def end_workers(self, asked: EndWorkers) -> None:
        """Kill them until Ray has none. Raises TimeoutError."""
        theirs = re.compile(re.escape(asked.job) + r"\.w\d+-" + re.escape(asked.journal))
        deadline = time.monotonic() + CALL_TIMEOUT_S
        while names := [n for n in self._ray.util.list_named_actors() if theirs.fullmatch(n)]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{', '.join(names)} do not end")
            for name in names:
                with contextlib.suppress(ValueError):  # it has ended by itself
                    self._ray.kill(self._ray.get_actor(name, namespace=NAMESPACE), no_restart=True)
            time.sleep(0.1)

    def statuses(self, asked: Statuses) -> dict[WorkerId, WorkerStatus]:
        """Ask all at once, and wait no longer than is said."""
        calls = {}
        for worker in asked.workers:
            with contextlib.suppress(ValueError):
                calls[self._actor(asked.job, worker).status.remote()] = worker
        ready: Sequence[Any] = ()
        if calls:
            ready, _ = self._ray.wait(list(calls), num_returns=len(calls), timeout=asked.timeout_s)
        found = {}
        for answer in ready:
            with contextlib.suppress(self._ray.exceptions.RayError):
                found[calls[answer]] = status_of(self._ray.get(answer))
        return found

    # --- generations

    def form(self, asked: Form) -> Attempt:
        """Pause the running generation if asked, open the store on rank 0, order all members."""
        if asked.pause:
            self._stand(asked.job, asked.pause)
        store = self._open_store(asked.job, asked.members[0])
        orders = {
            each.worker: pack(msgspec.structs.replace(each.order, store=store)) for each in asked.members
        }
        within_s = max(member.order.within_s for member in asked.members)
        give_up = time.monotonic() + within_s + CALL_TIMEOUT_S
        return self._gather(asked.job, orders, give_up)

    def _stand(self, job: JobId, pause: Pause) -> None:
        def standing() -> list[Any]:
            actors = [self._actor(job, worker) for worker in pause.workers]
            return [actor.pause.remote(pause.generation, pause.saves) for actor in actors]

        self._ask(standing)

    def _open_store(self, job: JobId, first: Member) -> tuple[str, int]:
        order, (host, _) = first.order, first.order.store
        actor = self._actor(job, first.worker)
        return host, self._ask(lambda: actor.serve_store.remote(order.generation, order.world, host))

    def _ask(self, call: Callable[[], Any]) -> Any:
        """Get the answer of a call that may be made again, if only the connection was lost."""
        for _ in range(ASKS - 1):
            with contextlib.suppress(self._ray.exceptions.ActorUnavailableError):
                return self._ray.get(call(), timeout=CALL_TIMEOUT_S)
            time.sleep(AGAIN_S)
        return self._ray.get(call(), timeout=CALL_TIMEOUT_S)

    def _gather(self, job: JobId, orders: Mapping[WorkerId, bytes], give_up: Seconds) -> Attempt:
        """Collect every member's answer. Once one has failed, those that stay silent are stuck, not slow.

        Until then a member may load for minutes, as long as its process says that it lives, and it is
        asked again if only the connection to it was lost.
        """
        answers = {self._orders(job, worker, order): worker for worker, order in orders.items()}
        waiting, stuck, asked = list(answers), list[WorkerId](), Counter(answers.values())
        formed, failed = list[Formed | Overtaken](), ""
        while waiting and not stuck:
            done, waiting = self._ray.wait(waiting, timeout=STUCK_AFTER_S if failed else CALL_TIMEOUT_S)
            if not done:
                late = [answers[each] for each in waiting]
                stuck = late if failed or time.monotonic() > give_up else self._unheard(job, late)
                continue
            worker = answers[done[0]]
            try:
                formed.append(unpack_formed(self._ray.get(done[0])))
            except (self._ray.exceptions.RayError, msgspec.DecodeError) as error:
                if self._is_cut(error) and not failed and asked[worker] < ASKS:
                    time.sleep(AGAIN_S)
                    again = self._orders(job, worker, orders[worker])
                    answers[again] = worker
                    waiting, asked[worker] = [*waiting, again], asked[worker] + 1
                else:
                    failed = failed or one_line(error)
        if stuck:
            failed = failed or "no answer in time"
        return Attempt(tuple(formed), failed, tuple(stuck))

    def _orders(self, job: JobId, worker: WorkerId, order: bytes) -> Any:
        """Have a worker join; asked again for the same generation it gives the same answer."""
        return self._actor(job, worker).form.remote(order)

    def _is_cut(self, error: Exception) -> bool:
        """Say whether only the connection was lost: the actor may live, and have done what was asked."""
        return isinstance(error, self._ray.exceptions.ActorUnavailableError)

    def _unheard(self, job: JobId, workers: Iterable[WorkerId]) -> list[WorkerId]:
        """Those of these workers whose processes do not answer at all, such as a stopped one's."""
        asked = Statuses(job, tuple(workers), ALIVE_S)
        heard = self.statuses(asked)
        return [worker for worker in asked.workers if worker not in heard]

    # --- agents

    def start_agent(self, asked: StartAgent) -> Future[int]:
        """Launch it by a task on its node."""
        launch = self._ray.remote(num_cpus=0, max_retries=0)(launch_until_up)
        there = launch.options(scheduling_strategy=self._on(asked.node))
        task = there.remote(list(asked.argv), asked.env, asked.up_within_s)
        within_s = CALL_TIMEOUT_S + asked.up_within_s
        return self._pending.answer(task, int, f"the agent of {asked.node} starts", within_s)

    # --- helpers

    def _actor(self, job: JobId, worker: WorkerId) -> Any:
        name = f"{job}.{worker}"
        if name not in self._handles:
            self._handles[name] = self._ray.get_actor(name, namespace=NAMESPACE)
        return self._handles[name]

    def _on(self, node: NodeId) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        for known in self._ray.nodes():
            if known["NodeName"] == node and known["Alive"]:
                return NodeAffinitySchedulingStrategy(known["NodeID"], soft=False)
        raise ValueError(f"Ray knows no living node {node!r}")


def _trains(resources: Mapping[str, float]) -> bool:
    """Say whether a node is for training: Ray's head is if it has GPUs that Ray may use."""
    return "node:__internal_head__" not in resources or resources.get("GPU", 0) > 0


def one_line(error: BaseException) -> str:
    """Say what was raised, as a message can carry it."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    message = f"{type(error).__name__}: {lines[-1] if lines else ''}"[:400]
    return message.encode(errors="backslashreplace").decode()
