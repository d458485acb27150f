"""The controller's hands in Ray: a disposable child process, because Ray ends a driver whose GCS died."""

import argparse
import os
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar, assert_never

import msgspec
import structlog
import zmq

from sentinel import logs, private
from sentinel.backends.ray import requests
from sentinel.backends.ray.hands import RayHands, one_line
from sentinel.backends.ray.requests import (
    Answered,
    AnyRequest,
    Asked,
    EndWorkers,
    Failed,
    Form,
    Joined,
    Nodes,
    NotJoined,
    Ping,
    Reply,
    Request,
    StartAgent,
    StartWorker,
    Statuses,
    StopWorker,
)
from sentinel.parent import die_with

log = structlog.get_logger(logger_name="ray-link")

A = TypeVar("A")


class Desk:
    """Answers requests side by side, so that a slow one delays nobody."""

    def __init__(self, hands: RayHands, context: "zmq.Context[Any]") -> None:
        self.answers = context.socket(zmq.PULL)
        """Replies of all threads, encoded."""
        self.answers.bind("inproc://answers")
        self._hands, self._context = hands, context
        self._quick, self._patient = ThreadPoolExecutor(16), ThreadPoolExecutor(16)
        self._local = threading.local()

    def take(self, message: bytes) -> None:
        """Have what is asked done; what can't be read is logged, and answered where it says its number."""
        try:
            asked = requests.read_asked(message)
        except requests.UNREADABLE as error:
            log.warning("message-unreadable", error=one_line(error))
            return
        try:
            request = requests.read_request(asked.request)
        except requests.UNREADABLE as error:
            log.warning("request-unreadable", number=asked.number, error=one_line(error))
            self._send(Failed(asked.number, one_line(error)))
        else:
            self._take_on(asked, request)

    def _take_on(self, asked: Asked, request: AnyRequest) -> None:
        """Answer at once whether we answer, however long Ray makes all threads wait."""
        if isinstance(request, Ping):
            self._answer(asked, request)
        else:
            self._pool_for(request).submit(self._answer, asked, request)

    def _pool_for(self, request: AnyRequest) -> ThreadPoolExecutor:
        """What holds a thread for long has threads of its own; all else must never wait for such a one."""
        return self._patient if isinstance(request, Form | EndWorkers) else self._quick

    def _answer(self, asked: Asked, request: AnyRequest) -> None:
        """Do what is asked; an answer that takes its time is sent by whoever gets it."""
        done: Future[Any]
        try:
            done = outcome(self._hands, request)
        except Exception as error:  # the controller decides what a failure means
            done = Future()
            done.set_exception(error)
        done.add_done_callback(lambda done: self._send(_reply(asked.number, request, done)))

    def _send(self, reply: Reply) -> None:
        if not hasattr(self._local, "answers"):
            self._local.answers = self._context.socket(zmq.PUSH)
            self._local.answers.connect("inproc://answers")
        self._local.answers.send(requests.encode(reply))


def outcome(hands: RayHands, request: AnyRequest) -> "Future[Any]":
    """Do what is asked. The type checker sees that nothing is forgotten, and that each answer fits."""
    match request:
        case Ping():
            return _done(request, None)
        case Nodes():
            return _done(request, hands.nodes())
        case StartWorker():
            return _waits(request, hands.start_worker(request))
        case StopWorker():
            hands.stop_worker(request)
            return _done(request, None)
        case EndWorkers():
            hands.end_workers(request)
            return _done(request, None)
        case Statuses():
            return _done(request, hands.statuses(request))
        case Form():
            return _done(request, hands.form(request))
        case StartAgent():
            return _waits(request, hands.start_agent(request))
        case _:
            assert_never(request)


def _done(_: Request[A], answer: A) -> "Future[Any]":  # not Future[A]: from there A would be taken as Any
    done: Future[A] = Future()
    done.set_result(answer)
    return done


def _waits(_: Request[A], answer: "Future[A]") -> "Future[Any]":
    return answer


def _reply(number: int, request: AnyRequest, done: "Future[Any]") -> Reply:
    try:
        return Answered(number, msgspec.Raw(requests.encode(done.result())))
    except Exception as error:
        log.error("request-failed", request=requests.name_of(request), exc_info=error)
        return Failed(number, one_line(error))


def serve(endpoint: str, address: str) -> None:
    """Answer requests for ever. Raises what Ray raises when it can't be joined."""
    context: zmq.Context[Any] = zmq.Context.instance()
    pair = context.socket(zmq.PAIR)
    pair.bind(endpoint)
    try:
        hands = RayHands(address)
    except Exception as error:
        known = error.__cause__ if isinstance(error.__cause__, Exception) else error  # it says more
        pair.send(requests.encode(NotJoined(one_line(known))))
        pair.close(linger=1000)
        raise
    desk = Desk(hands, context)
    pair.send(requests.encode(Joined(os.getpid())))
    poller = zmq.Poller()
    poller.register(pair, zmq.POLLIN)
    poller.register(desk.answers, zmq.POLLIN)
    while True:
        for ready, _ in poller.poll(500):
            if ready is desk.answers:
                pair.send(desk.answers.recv())
            else:
                desk.take(pair.recv())


def main() -> None:
    """Run the link."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True, help="the controller's ipc endpoint")
    parser.add_argument("--address", required=True, help="Ray's GCS, host:port")
    parser.add_argument("--parent", required=True, type=int, help="the controller's pid: this ends with it")
    arguments = parser.parse_args()
    die_with(arguments.parent)
    os.umask(private.UMASK)
    logs.to_stdout()
    try:
        serve(arguments.endpoint, arguments.address)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
