"""The controller's hands in Ray: a disposable child process, because Ray ends a driver whose GCS died."""

import argparse
import contextlib
import os
import re
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import msgpack
import zmq

from sentinel import logs
from sentinel.runtime.detach import launch_detached
from sentinel.runtime.ray_pending import Pending

NAMESPACE = "sentinel"
CALL_TIMEOUT_S = 30.0
STUCK_AFTER_S = 8.0
"""After a member failed the others notice within the 6 s that forming may take."""
PATIENT = frozenset({"form", "end_workers"})
"""What holds a thread for long; all else must never wait for such a thread."""
ALIVE_S = 15.0
"""A process that loads may hold its interpreter for seconds, and answer nothing meanwhile."""


class RayLink:
    """Answers the controller's requests, side by side, so that a slow one delays nobody."""

    def __init__(self, address: str) -> None:
        import ray

        self._ray = ray
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, logging_level="ERROR")
        self._handles: dict[str, Any] = {}
        self._stopped: set[str] = set()
        """Workers that must not start any more; a name is given once."""
        self._pending = Pending(ray)

    # --- requests --------------------------------------------------------------------------------------

    def nodes(self) -> list[dict[str, Any]]:
        """List the nodes that Ray knows, with Sentinel's name and the raylet's door for each."""
        return [
            {
                "node": node["NodeName"],
                "id": node["NodeID"],
                "alive": node["Alive"],
                "address": node["NodeManagerAddress"],
                "port": node["NodeManagerPort"],
                "trains": _trains(node["Resources"]),
            }
            for node in self._ray.nodes()
        ]

    def start_worker(
        self, spec: dict[str, Any], worker: str, node: str, gpu: int, memory: str, within_s: float
    ) -> "Future[dict[str, int]]":
        """Start a detached worker on a node, or find the one that was started already.

        The answer is its status once it is warm; one that is not in time is killed, for nobody waits for it.
        """
        from sentinel.gang.actor import RankActor

        name = f"{spec['job']}.{worker}"
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
            "scheduling_strategy": self._on(node),
        }
        actor = self._ray.remote(RankActor).options(**options).remote(spec, worker, memory, gpu)
        self._handles[name] = actor
        kill = partial(self._ray.kill, actor, no_restart=True)
        if name in self._stopped:  # since the look above
            kill()
        return self._pending.answer(actor.status.remote(), f"{name} starts", within_s, kill)

    def stop_worker(self, job: str, worker: str) -> None:
        """Kill a worker's actor, warm or not; gone already is fine."""
        self._stopped.add(f"{job}.{worker}")
        with contextlib.suppress(ValueError):
            self._ray.kill(self._actor(job, worker), no_restart=True)
        self._handles.pop(f"{job}.{worker}", None)

    def end_workers(self, job: str, suffix: str) -> None:
        """Kill the workers that another journal, now lost, has left behind; returns when Ray has none."""
        theirs = re.compile(re.escape(job) + r"\.w\d+-" + re.escape(suffix))
        deadline = time.monotonic() + CALL_TIMEOUT_S
        while names := [n for n in self._ray.util.list_named_actors() if theirs.fullmatch(n)]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{', '.join(names)} do not end")
            for name in names:
                with contextlib.suppress(ValueError):  # it has ended by itself
                    self._ray.kill(self._ray.get_actor(name, namespace=NAMESPACE), no_restart=True)
            time.sleep(0.1)

    def statuses(self, job: str, workers: list[str], timeout_s: float) -> dict[str, dict[str, int]]:
        """Ask workers how far they are; those that do not answer in time are left out."""
        asked = {}
        for worker in workers:
            try:
                asked[self._actor(job, worker).status.remote()] = worker
            except ValueError:
                continue
        ready, _ = (
            self._ray.wait(list(asked), num_returns=len(asked), timeout=timeout_s) if asked else ([], [])
        )
        found = {}
        for answer in ready:
            try:
                found[asked[answer]] = self._ray.get(answer)
            except self._ray.exceptions.RayError:
                continue
        return found

    def form(
        self, job: str, order: dict[str, Any], seats: list[dict[str, Any]], pause: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Form a generation: pause the running one if asked, open the store on rank 0, order all members."""
        if pause:
            standing = [
                self._actor(job, worker).pause.remote(pause["generation"]) for worker in pause["workers"]
            ]
            self._ray.get(standing, timeout=CALL_TIMEOUT_S)
        first = seats[0]
        store = self._actor(job, first["worker"]).serve_store.remote(
            order["generation"], order["world"], first["address"]
        )
        port = self._ray.get(store, timeout=CALL_TIMEOUT_S)
        answers = {
            self._actor(job, seat["worker"]).form.remote(
                {
                    **order,
                    "rank": seat["rank"],
                    "gpu": seat["gpu"],
                    "store": (first["address"], port),
                    "holders": tuple(map(tuple, seat["holders"])),
                    "peer": tuple(seat["peer"]) if seat["peer"] else None,
                    "skip": tuple(order["skip"]),
                    "hosted": tuple(seat["hosted"]),
                    "held": tuple(seat["held"]),
                }
            ): seat["worker"]
            for seat in seats
        }
        return self._gather(job, answers, time.monotonic() + order["within_s"] + CALL_TIMEOUT_S)

    def _gather(self, job: str, answers: dict[Any, str], give_up: float) -> dict[str, Any]:
        """Collect every member's answer. Once one has failed, those that stay silent are stuck, not slow.

        Until then a member may load for minutes, as long as its process says that it lives.
        """
        waiting, stuck = list(answers), list[str]()
        formed, failed = [], ""
        while waiting and not stuck:
            done, waiting = self._ray.wait(waiting, timeout=STUCK_AFTER_S if failed else CALL_TIMEOUT_S)
            if not done:
                late = [answers[each] for each in waiting]
                stuck = late if failed or time.monotonic() > give_up else self._unheard(job, late)
                continue
            try:
                formed.append(self._ray.get(done[0]))
            except self._ray.exceptions.RayError as error:
                failed = failed or _one_line(error)
        if stuck:
            failed = failed or "no answer in time"
        return {"formed": formed, "failed": failed, "stuck": stuck}

    def _unheard(self, job: str, workers: list[str]) -> list[str]:
        """Those of these workers whose processes do not answer at all, such as a stopped one's."""
        heard = self.statuses(job, workers, ALIVE_S)
        return [worker for worker in workers if worker not in heard]

    def start_agent(self, node: str, argv: list[str], env: dict[str, str]) -> "Future[int]":
        """Launch a node's agent, detached from the raylet; the answer is its pid."""
        launch = self._ray.remote(num_cpus=0, max_retries=0)(launch_detached)
        task = launch.options(scheduling_strategy=self._on(node)).remote(argv, env)
        return self._pending.answer(task, f"the agent of {node} starts", CALL_TIMEOUT_S)

    # --- helpers ---------------------------------------------------------------------------------------

    def _actor(self, job: str, worker: str) -> Any:
        name = f"{job}.{worker}"
        if name not in self._handles:
            self._handles[name] = self._ray.get_actor(name, namespace=NAMESPACE)
        return self._handles[name]

    def _on(self, node: str) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        for known in self.nodes():
            if known["node"] == node and known["alive"]:
                return NodeAffinitySchedulingStrategy(known["id"], soft=False)
        raise ValueError(f"Ray knows no living node {node!r}")


def _trains(resources: Mapping[str, float]) -> bool:
    """Say whether a node is for training: Ray's head is if it has GPUs that Ray may use."""
    return "node:__internal_head__" not in resources or resources.get("GPU", 0) > 0


def serve(endpoint: str, address: str) -> None:
    """Answer requests until the controller is gone. Raises what Ray raises when it can't be joined."""
    context: zmq.Context[Any] = zmq.Context.instance()
    requests = context.socket(zmq.PAIR)
    requests.connect(endpoint)
    try:
        link = RayLink(address)
    except Exception as error:
        known = error.__cause__ if isinstance(error.__cause__, Exception) else error  # it says more
        requests.send(msgpack.packb({"id": 0, "ok": False, "detail": _one_line(known), "data": None}))
        requests.close(linger=1000)
        raise
    answers = context.socket(zmq.PULL)
    answers.bind("inproc://answers")
    pool, patient = ThreadPoolExecutor(16), ThreadPoolExecutor(16)
    requests.send(msgpack.packb({"id": 0, "ok": True, "detail": "", "data": os.getpid()}))
    poller = zmq.Poller()
    poller.register(requests, zmq.POLLIN)
    poller.register(answers, zmq.POLLIN)
    parent = os.getppid()
    while os.getppid() == parent:
        for ready, _ in poller.poll(500):
            if ready is answers:
                requests.send(answers.recv())
            else:
                request = msgpack.unpackb(requests.recv())
                chosen = patient if request["op"] in PATIENT else pool
                chosen.submit(_answer, context, link, request)


_local = threading.local()


def _answer(context: "zmq.Context[Any]", link: RayLink, request: dict[str, Any]) -> None:
    """Do what is asked; an answer that takes its time is sent by whoever gets it."""
    done = _outcome(getattr(link, request["op"]), request["args"])
    done.add_done_callback(partial(_send, context, request["id"]))


def _outcome(call: Callable[..., Any], arguments: dict[str, Any]) -> "Future[Any]":
    done: Future[Any] = Future()
    try:
        told = call(**arguments)
    except Exception as error:  # the controller decides what a failure means
        done.set_exception(error)
        return done
    if isinstance(told, Future):
        return told
    done.set_result(told)
    return done


def _send(context: "zmq.Context[Any]", number: int, done: "Future[Any]") -> None:
    if not hasattr(_local, "answers"):
        _local.answers = context.socket(zmq.PUSH)
        _local.answers.connect("inproc://answers")
    reply: dict[str, Any] = {"id": number, "ok": True, "detail": "", "data": None}
    if error := done.exception():
        with contextlib.suppress(OSError):  # a full disk takes no trace, and the answer must not wait for it
            traceback.print_exception(error)
        reply |= {"ok": False, "detail": _one_line(error)}
    else:
        reply["data"] = done.result()
    _local.answers.send(msgpack.packb(reply, unicode_errors="backslashreplace"))


def _one_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1] if lines else ''}"[:400]


def main() -> None:
    """Run the link."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True, help="the controller's ipc endpoint")
    parser.add_argument("--address", required=True, help="Ray's GCS, host:port")
    arguments = parser.parse_args()
    logs.to_stdout()
    try:
        serve(arguments.endpoint, arguments.address)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
