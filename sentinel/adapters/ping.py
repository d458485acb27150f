"""The controller's own ping of a silent node: which of its ports answer."""

import asyncio
import contextlib
import errno

from sentinel.model.ids import Seconds

PING_DEADLINE_S = 0.8
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.EHOSTDOWN, errno.ETIMEDOUT})
"""What the network says of a host that does not answer; every other error is of this machine."""
_LATE = 2.0
"""So many deadlines late, it was this process that slept."""


async def ping(address: str, port: int, within: Seconds = PING_DEADLINE_S) -> str:
    """Connect to a TCP port: `ok`, `refused` (the host is there, the process is not), `timeout`, `unknown`.

    The last is the answer where this machine could not even ask, for want of files, memory, threads, time,
    a route or a name's address: that is no evidence against anybody.
    """
    if not port:
        return "unknown"
    clock = asyncio.get_running_loop().time
    began = clock()
    try:
        async with asyncio.timeout(within):
            _, writer = await asyncio.open_connection(address, port)
    except TimeoutError:
        return "timeout" if clock() - began < _LATE * within else "unknown"
    except (OSError, RuntimeError, ValueError, OverflowError) as error:
        return _meaning(error)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return "ok"


def _meaning(error: Exception) -> str:
    """Say what a failed connection means."""
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return "timeout" if isinstance(error, OSError) and error.errno in _UNREACHABLE else "unknown"
