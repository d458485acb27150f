"""A command of the operator's, from the settings: it runs here, in time, and is told what it is for."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from sentinel import private
from sentinel.redact import redact
from sentinel.runtime.hands import ActionError, OperatorsCommand

TAIL_BYTES = 4000
KEPT = "SENTINEL_"
"""What our own settings and secrets in the environment begin with: the command gets none of them."""


async def run(command: OperatorsCommand, told: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Run the command once, with `told` in its environment; gives how it went and what it said last.

    Raises ActionError when it is not set, fails, or does not end in time: then it is killed.
    """
    if not command.line:
        raise ActionError(f"{command.key} is not set")
    descriptor = private.open_file(command.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(KEPT)}
    try:
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", command.line),
            env=kept | dict(told),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=descriptor,  # a file, not a pipe: processes that the command leaves behind hold it open
            stderr=descriptor,
            start_new_session=True,
        )
    finally:
        os.close(descriptor)
    try:
        async with asyncio.timeout(command.within_s):
            code = await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        late = f"{command.key} did not end within {command.within_s:g} s"
        raise ActionError(late, _said(command.log)) from None
    if code:
        raise ActionError(f"{command.key}: exit {code}", _said(command.log))
    return f"{command.key}: exit 0", _said(command.log)


def _said(log: Path) -> tuple[str, ...]:
    """Give the end of what it said, without secrets; nothing when it said nothing."""
    with contextlib.suppress(OSError), log.open("rb") as said:
        said.seek(max(0, os.fstat(said.fileno()).st_size - TAIL_BYTES))
        text = said.read(TAIL_BYTES).decode(errors="replace").strip()
        return (redact(text),) if text else ()
    return ()
