"""The controller's end of the ray link: it starts the child, asks it things, and replaces it when it dies."""

import asyncio
import contextlib
import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, assert_never

import msgspec
import structlog
import zmq
import zmq.asyncio

from sentinel import private
from sentinel.model.ids import Seconds
from sentinel.runtime import ray_requests
from sentinel.runtime.last_words import APPEND
from sentinel.runtime.ray_requests import Answered, Asked, Failed, Joined, Nodes, NotJoined, Reply, Request

log = structlog.get_logger(logger_name="link")


class LinkError(Exception):
    """Ray could not be asked, or refused; the message is one line."""


A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: Request[Any]
    answer: asyncio.Future[Any]


class Link:
    """Asks the ray link. One child at a time; a request that was under way when it died fails."""

    def __init__(self, address: str, state_dir: Path) -> None:
        self._address = address
        self._log_path = state_dir / "ray-link.log"
        self._endpoint = _endpoint(state_dir.absolute() / f"link-{os.getpid()}.sock")
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._context = zmq.asyncio.Context()
        self._socket: zmq.asyncio.Socket | None = None
        self.process: asyncio.subprocess.Process | None = None
        self.up = asyncio.Event()
        self.trouble = f"{address} has not answered yet"
        """Why Ray can't be asked; empty while it can."""

    async def run(self) -> None:
        """Keep a child alive until cancelled."""
        try:
            while True:
                try:
                    await self._run_child()
                except (OSError, zmq.ZMQError) as error:  # no process or file to be had: it may pass
                    self._can_t_start(str(error))
                await asyncio.sleep(1.0)  # Ray itself may be away: do not spin
        finally:
            self._kill()
            with contextlib.suppress(OSError):
                Path(self._endpoint.removeprefix("ipc://")).unlink()

    def _can_t_start(self, why: str) -> None:
        told = f"the ray link can't be started: {why}"
        if told != self.trouble:
            log.error("link-not-started", error=why)
        self.trouble = told

    async def _run_child(self) -> None:
        with self._context.socket(zmq.PAIR) as self._socket:
            await self._run_with(self._socket)

    async def _run_with(self, socket: zmq.asyncio.Socket) -> None:
        socket.linger = 0
        socket.connect(self._endpoint)  # the child binds it: who accepts without files is ended by ZeroMQ
        argv = ["sentinel.runtime.ray_link", "--endpoint", self._endpoint, "--address", self._address]
        with os.fdopen(private.open_file(self._log_path, APPEND), "ab") as out:
            self.process = await asyncio.create_subprocess_exec(
                *private.MODULE,
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",  # Ray has every worker on every node import from its driver's folder first
            )
        reader = asyncio.create_task(self._read(socket))
        try:
            code = await self.process.wait()
            self.trouble = self.trouble or f"the ray link ended with code {code}: {self._log_path}"
            log.warning("link-ended", code=code, trouble=self.trouble)
        finally:
            self.up.clear()
            reader.cancel()
            self._kill()
            for waiting in self._waiting.values():
                if not waiting.answer.done():
                    waiting.answer.set_exception(LinkError("the ray link ended"))
            self._waiting.clear()

    def _kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    async def _read(self, socket: zmq.asyncio.Socket) -> None:
        while True:
            message = await socket.recv()
            try:
                self._take(ray_requests.read_reply(message))
            except ray_requests.UNREADABLE as error:
                log.warning("reply-unreadable", error=str(error))

    def _take(self, reply: Reply) -> None:
        match reply:
            case Joined():
                self.trouble = ""
                self.up.set()
            case NotJoined():
                self.trouble = reply.detail
            case Answered():
                self._answered(reply)
            case Failed():
                self._settle(reply.number, LinkError(reply.detail))
            case _:
                assert_never(reply)

    def _answered(self, reply: Answered) -> None:
        if (waiting := self._waiting.get(reply.number)) is None:
            return
        try:
            answer = ray_requests.read_answer(waiting.request, reply.answer)
        except ray_requests.UNREADABLE as error:
            told = f"{ray_requests.name_of(waiting.request)}: the answer can't be read: {error}"
            self._settle(reply.number, LinkError(told))
        else:
            self.trouble = ""
            self._settle(reply.number, answer)

    def _settle(self, number: int, answer: Any) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is None or waiting.answer.done():
            return
        if isinstance(answer, LinkError):
            waiting.answer.set_exception(answer)
        else:
            waiting.answer.set_result(answer)

    async def ask(self, request: Request[A], timeout: Seconds = 60.0) -> A:
        """Have the child do something. Raises LinkError when it fails, dies or takes too long."""
        number = next(self._numbers)
        try:
            async with asyncio.timeout(timeout):
                await self.up.wait()
                return await self._send(number, request)
        except TimeoutError:
            if isinstance(request, Nodes):  # asked all the time, and quickly answered
                self.trouble = self.trouble or f"it has not said within {timeout:.0f} s which nodes it has"
            why = f": {self.trouble}" if self.trouble else ""
            name = ray_requests.name_of(request)
            raise LinkError(f"{name}: no answer within {timeout:.0f} s{why}") from None
        finally:
            self._waiting.pop(number, None)

    async def _send(self, number: int, request: Request[A]) -> A:
        try:
            message = ray_requests.encode(Asked(number, msgspec.Raw(ray_requests.encode(request))))
        except UnicodeEncodeError as error:  # a path or a name may be any bytes
            raise LinkError(f"{ray_requests.name_of(request)}: {error}") from None
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting[number] = _Waiting(request, answer)
        assert self._socket is not None
        await self._socket.send(message)
        return await answer


def _endpoint(path: Path) -> str:
    """Give a socket's address. Raises OSError that says how long its path may be."""
    if len(os.fsencode(path)) > zmq.IPC_PATH_MAX_LEN:
        raise OSError(f"{path}: a socket's path may have {zmq.IPC_PATH_MAX_LEN} bytes")
    return f"ipc://{path}"
