"""The controller's end of the ray link: it starts the child, asks it, replaces it when it ends or hangs."""

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
from sentinel.backends.port import NOT_YET, BackendError
from sentinel.backends.ray import gcs, requests
from sentinel.backends.ray.requests import (
    Answered,
    Asked,
    Failed,
    Joined,
    Nodes,
    NotJoined,
    Ping,
    Reply,
    Request,
)
from sentinel.model.ids import Seconds

log = structlog.get_logger(logger_name="link")

AGAIN_S = 1.0
"""Ray itself may be away: a link that ends by itself is not started again at once."""
JOINS_WITHIN_S = 120.0
"""Importing Ray and joining it takes seconds, on a crowded machine tens; nothing is answered meanwhile."""
PING_S = 0.5
PATIENCE = 4
"""Pings without an answer after which it hangs: one that waits for a processor is late by less."""
MOST_PATIENCE = 64
"""Each link that hangs too makes us twice as patient: where all are slow, replacing them mends nothing."""
LOG_EVERY_S = 0.5
LOG_BYTES = 65_536
TIMES = 3
"""An order under which so many links ended is not asked again: it may be what ends them."""


class LinkError(BackendError):
    """Ray could not be asked, or refused; the message is one line."""


class LinkEndedError(LinkError):
    """The link ended before it answered."""


A = TypeVar("A")


@dataclass(frozen=True, slots=True)
class _Waiting:
    request: Request[Any]
    answer: asyncio.Future[Any]


class Link:
    """Asks the ray link. One child at a time; what was under way when it ended is asked again of the next.

    Whatever is asked of it looks first whether it is done already, so that nothing is done twice.
    """

    def __init__(self, address: str, state_dir: Path) -> None:
        self._address = address
        self._log_path = state_dir / "ray-link.log"
        self._endpoint = _endpoint(state_dir.absolute() / f"link-{os.getpid()}.sock")
        self._numbers = itertools.count(1)
        self._waiting: dict[int, _Waiting] = {}
        self._context = zmq.asyncio.Context()
        self._socket: zmq.asyncio.Socket | None = None
        self.process: asyncio.subprocess.Process | None = None
        self._patience = PATIENCE
        self._heard = False
        """Whether the child has said anything since we last looked."""
        self.up = asyncio.Event()
        self.away = asyncio.Event()
        """Set while `up` is not."""
        self.away.set()
        self.trouble = f"{address} {NOT_YET}"
        """Why Ray can't be asked; empty while it can."""
        self.silent_s: Seconds = 0.0
        """How long the last child had not answered before it was ended, if it hung."""

    async def run(self) -> None:
        """Keep a child alive until cancelled."""
        self._clear()
        try:
            while True:
                hung = False
                try:
                    hung = await self._run_child()
                except (OSError, zmq.ZMQError) as error:  # no process or file to be had: it may pass
                    self._can_t_start(str(error))
                if not hung:
                    await asyncio.sleep(AGAIN_S)
        finally:
            self._kill()
            with contextlib.suppress(OSError):
                Path(self._endpoint.removeprefix("ipc://")).unlink()

    def _clear(self) -> None:
        """Remove the sockets of controllers that were killed: there is one controller at a time."""
        here = Path(self._endpoint.removeprefix("ipc://"))
        with contextlib.suppress(OSError):
            for each in here.parent.glob("link-*.sock"):
                each.unlink()

    def _can_t_start(self, why: str) -> None:
        message = f"the ray link can't be started: {why}"
        if message != self.trouble:
            log.error("link-not-started", error=why)
        self.trouble = message

    async def _run_child(self) -> bool:
        """Run one child to its end; true when it was ended because it hung."""
        with self._context.socket(zmq.PAIR) as self._socket:
            return await self._run_with(self._socket)

    async def _run_with(self, socket: zmq.asyncio.Socket) -> bool:
        socket.linger = 0
        socket.connect(self._endpoint)  # the child binds it: who accepts without files is ended by ZeroMQ
        argv = ["sentinel.backends.ray.link_process", "--endpoint", self._endpoint]
        argv += ["--address", self._address, "--parent", str(os.getpid())]
        with os.fdopen(private.open_file(self._log_path, private.APPEND), "ab") as out:
            said = os.fstat(out.fileno()).st_size
            self.process = await asyncio.create_subprocess_exec(
                *private.MODULE,
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd="/",  # Ray has every worker on every node import from its driver's folder first
            )
        self.silent_s = 0.0
        reader = asyncio.create_task(self._read(socket))
        refused = asyncio.create_task(self._hear_refusal(said))
        hangs = asyncio.create_task(self._hang(socket))
        ended = asyncio.create_task(self.process.wait())
        try:
            await asyncio.wait([hangs, ended], return_when=asyncio.FIRST_COMPLETED)
            if hung := not ended.done():
                self.trouble = f"the ray link, pid {self.process.pid}, {await hangs}: another one is started"
                self._kill()
            code = await ended
            if not self.trouble or self.trouble.endswith(NOT_YET):
                self.trouble = f"the ray link ended with code {code}: {self._log_path}"
            log.warning("link-ended", code=code, trouble=self.trouble)
            return hung
        finally:
            self.up.clear()
            self.away.set()
            for task in (reader, refused, hangs, ended):
                task.cancel()
            self._kill()
            for waiting in self._waiting.values():
                if not waiting.answer.done():
                    waiting.answer.set_exception(LinkEndedError("the ray link ended"))
            self._waiting.clear()

    async def _hear_refusal(self, since: int) -> None:
        """Say that Ray refuses the token: who joins it waits for long, and learns another reason or none."""
        while not self.up.is_set():
            with contextlib.suppress(OSError):
                line = _line_with(self._log_path, gcs.REFUSED, since)
                if line and not self.up.is_set():
                    self.trouble = f"{self._address} refuses the token (RAY_AUTH_TOKEN_PATH): {line}"
            await asyncio.sleep(LOG_EVERY_S)

    async def _hang(self, socket: zmq.asyncio.Socket) -> str:
        """Return, with what it does not do, when the child hangs.

        Pings are counted, and no clock is read: this process may have stood still itself.
        """
        try:
            async with asyncio.timeout(JOINS_WITHIN_S):
                await self.up.wait()
        except TimeoutError:
            return f"has not joined Ray within {JOINS_WITHIN_S:.0f} s"
        missed, answered = 0, 0
        while missed < self._patience:
            self._heard = False
            with contextlib.suppress(zmq.Again):  # so many pings lie there that no further one is needed
                await socket.send(_message(next(self._numbers), Ping()), zmq.DONTWAIT)
            await asyncio.sleep(PING_S)
            missed = 0 if self._heard else missed + 1
            answered += self._heard
            if answered > MOST_PATIENCE:
                self._patience = PATIENCE
        self.silent_s = missed * PING_S
        self._patience = min(MOST_PATIENCE, 2 * self._patience)
        return f"has not answered for {self.silent_s:.0f} s"

    def _kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    async def _read(self, socket: zmq.asyncio.Socket) -> None:
        while True:
            message = await socket.recv()
            self._heard = True
            try:
                self._take(requests.read_reply(message))
            except requests.UNREADABLE as error:
                log.warning("reply-unreadable", error=str(error))

    def _take(self, reply: Reply) -> None:
        match reply:
            case Joined():
                self.trouble = ""
                self.away.clear()
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
            answer = requests.read_answer(waiting.request, reply.answer)
        except requests.UNREADABLE as error:
            message = f"{requests.name_of(waiting.request)}: the answer can't be read: {error}"
            self._settle(reply.number, LinkError(message))
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
        """Have the child do something. Raises LinkError when it fails or takes too long, whyever."""
        try:
            async with asyncio.timeout(timeout):
                return await self._ask_each(request)
        except TimeoutError:
            if isinstance(request, Nodes):  # asked all the time, and quickly answered
                self.trouble = self.trouble or f"it has not said within {timeout:.0f} s which nodes it has"
            raise self._late(request, timeout) from None

    async def order(self, request: Request[A], timeout: Seconds) -> A:
        """Have done what can wait until the link is back: the time counts only while it is there.

        Raises LinkError when it fails, or takes too long of a link that answers.
        """
        return await self._ask_each(request, timeout)

    async def _ask_each(self, request: Request[A], timeout: Seconds | None = None) -> A:
        """Ask the child, or, where that ends, the next one; each has this long."""
        for left in range(TIMES - 1, -1, -1):
            await self.up.wait()
            try:
                async with asyncio.timeout(timeout):
                    return await self._send(request)
            except LinkEndedError:
                if not left:
                    raise
            except TimeoutError:
                raise self._late(request, timeout or 0.0) from None
        raise AssertionError

    def _late(self, request: Request[Any], timeout: Seconds) -> LinkError:
        why = f": {self.trouble}" if self.trouble else ""
        return LinkError(f"{requests.name_of(request)}: no answer within {timeout:.0f} s{why}")

    async def _send(self, request: Request[A]) -> A:
        number = next(self._numbers)
        try:
            message = _message(number, request)
        except UnicodeEncodeError as error:  # a path or a name may be any bytes
            raise LinkError(f"{requests.name_of(request)}: {error}") from None
        answer: asyncio.Future[A] = asyncio.get_running_loop().create_future()
        self._waiting[number] = _Waiting(request, answer)
        assert self._socket is not None
        try:
            await self._socket.send(message)
            return await answer
        finally:
            self._waiting.pop(number, None)


def _message(number: int, request: Request[Any]) -> bytes:
    return requests.encode(Asked(number, msgspec.Raw(requests.encode(request))))


def _line_with(log_path: Path, word: str, since: int) -> str:
    """Give the last line with a word of what a log says after this many bytes, from the word on."""
    with os.fdopen(private.open_file(log_path, os.O_RDONLY), "rb") as file:
        file.seek(max(since, file.seek(0, os.SEEK_END) - LOG_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    return next((line[line.index(word) :][:300] for line in reversed(lines) if word in line), "")


def _endpoint(path: Path) -> str:
    """Give a socket's address. Raises OSError that says how long its path may be."""
    if len(os.fsencode(path)) > zmq.IPC_PATH_MAX_LEN:
        raise OSError(f"{path}: a socket's path may have {zmq.IPC_PATH_MAX_LEN} bytes")
    return f"ipc://{path}"
