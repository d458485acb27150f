"""Both ends of the ray link over its real socket: the controller's here, the child's in a process."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import zmq

from sentinel.backends.ray.link import Link


@contextlib.asynccontextmanager
async def listening(path: Path) -> AsyncIterator[Link]:
    """The controller's end, before anybody has connected."""
    link = Link("no:1", path)
    link._socket = link._context.socket(zmq.PAIR)
    link._socket.connect(link._endpoint)
    reader = asyncio.create_task(link._read(link._socket))
    try:
        yield link
        assert not reader.done()
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
        link._context.destroy(0)


@contextlib.asynccontextmanager
async def serving(path: Path, warm_s: float) -> AsyncIterator[Link]:
    """Joined by a ray link to a Ray where workers are warm after so many seconds."""
    program = Path(__file__).with_name("fake_ray.py")
    async with listening(path) as link:
        process = subprocess.Popen([sys.executable, str(program), link._endpoint, str(warm_s)])
        try:
            async with asyncio.timeout(60.0):
                await link.up.wait()
            yield link
        finally:
            process.kill()
            process.wait()
