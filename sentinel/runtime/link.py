"""The controller's end of the ray link: it starts the child, asks it things, and replaces it when it dies."""

import asyncio
import contextlib
import itertools
import os
import sys
from pathlib import Path
from typing import Any

import msgpack
import structlog
import zmq
import zmq.asyncio

from sentinel.model.ids import Seconds

log = structlog.get_logger(logger_name="link")


class LinkError(Exception):
    """Ray could not be asked, or refused; the message is one line."""


class Link:
    """Asks the ray link. One child at a time; a request that was under way when it died fails."""

    def __init__(self, address: str, state_dir: Path) -> None:
        self._address = address
        self._log_path = state_dir / "ray-link.log"
        self._endpoint = _endpoint(state_dir / f"link-{os.getpid()}.sock")
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
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
                await self._run_child()
                await asyncio.sleep(1.0)  # Ray itself may be away: do not spin
        finally:
            self._kill()
            with contextlib.suppress(OSError):
                Path(self._endpoint.removeprefix("ipc://")).unlink()

    async def _run_child(self) -> None:
        self._socket = self._context.socket(zmq.PAIR)
        self._socket.linger = 0
        self._socket.bind(self._endpoint)
        argv = ["-m", "sentinel.runtime.ray_link", "--endpoint", self._endpoint, "--address", self._address]
        with self._log_path.open("ab") as out:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, *argv, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out
            )
        reader = asyncio.create_task(self._read(self._socket))
        try:
            code = await self.process.wait()
            self.trouble = self.trouble or f"the ray link ended with code {code}: {self._log_path}"
            log.warning("link-ended", code=code, trouble=self.trouble)
        finally:
            self.up.clear()
            reader.cancel()
            self._kill()
            self._socket.close(0)
            for waiting in self._waiting.values():
                if not waiting.done():
                    waiting.set_exception(LinkError("the ray link ended"))
            self._waiting.clear()

    def _kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()

    async def _read(self, socket: zmq.asyncio.Socket) -> None:
        while True:
            reply = msgpack.unpackb(await socket.recv())
            if reply["id"] == 0:
                self._introduced(reply)
                continue
            waiting = self._waiting.pop(reply["id"], None)
            if waiting is None or waiting.done():
                continue
            if reply["ok"]:
                self.trouble = ""
                waiting.set_result(reply["data"])
            else:
                waiting.set_exception(LinkError(reply["detail"]))

    def _introduced(self, reply: dict[str, Any]) -> None:
        """The child has joined Ray, or can't."""
        self.trouble = reply["detail"]
        if reply["ok"]:
            self.up.set()

    async def ask(self, op: str, timeout: Seconds = 60.0, **args: Any) -> Any:
        """Have the child do something. Raises LinkError when it fails, dies or takes too long."""
        try:
            async with asyncio.timeout(timeout):
                await self.up.wait()
                number = next(self._numbers)
                answer = asyncio.get_running_loop().create_future()
                self._waiting[number] = answer
                assert self._socket is not None
                await self._socket.send(msgpack.packb({"id": number, "op": op, "args": args}))
                return await answer
        except TimeoutError:
            if op == "nodes":  # asked all the time, and quickly answered
                self.trouble = self.trouble or f"it has not said within {timeout:.0f} s which nodes it has"
            why = f": {self.trouble}" if self.trouble else ""
            raise LinkError(f"{op}: no answer within {timeout:.0f} s{why}") from None


def _endpoint(path: Path) -> str:
    """Give a socket's address. Raises OSError that says how long its path may be."""
    if len(os.fsencode(path)) > zmq.IPC_PATH_MAX_LEN:
        raise OSError(f"{path}: a socket's path may have {zmq.IPC_PATH_MAX_LEN} bytes")
    return f"ipc://{path}"
