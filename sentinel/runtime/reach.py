"""The controller's own look at a silent node: which of its doors are open."""

import asyncio
import contextlib

from sentinel.model.ids import Seconds

DOOR_DEADLINE_S = 0.8


async def knock(address: str, port: int, within: Seconds = DOOR_DEADLINE_S) -> str:
    """Try a TCP door: `ok`, `refused` (the host is there, the process is not) or `timeout`."""
    if not port:
        return "unknown"
    try:
        async with asyncio.timeout(within):
            _, writer = await asyncio.open_connection(address, port)
    except TimeoutError:
        return "timeout"
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "timeout"  # no route to host: as unreachable as silence
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return "ok"
