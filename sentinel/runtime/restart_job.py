"""Starting a watched job again: its command runs here, with a deadline, and is told what happened."""

import asyncio
import contextlib
import os
import signal
from pathlib import Path

from sentinel import private
from sentinel.core.state.rows import Job, JobStage
from sentinel.model.action import RestartJob
from sentinel.redact import redact
from sentinel.runtime.hands import ActionError, RestartCommand

TAIL_BYTES = 4000
KEPT = "SENTINEL_"
"""What our own settings and secrets in the environment begin with: the command gets none of them."""


async def restart_job(action: RestartJob, job: Job, command: RestartCommand) -> tuple[str, tuple[str, ...]]:
    """Run the command once; gives how it went and what it said last.

    A controller that took over may run it again, with the same SENTINEL_RESTART, unless the job is back.
    Raises ActionError when it fails, or does not end in time: then it is killed.
    """
    if job.generation != action.generation or job.stage is not JobStage.FORMING:
        return "superseded", ()
    if not command.line:
        raise ActionError("job.restart_command is not set")
    descriptor = private.open_file(command.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        process = await asyncio.create_subprocess_exec(
            *("/bin/sh", "-c", command.line),
            env=_environment(action),
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
        late = f"job.restart_command did not end within {command.within_s:g} s"
        raise ActionError(late, _said(command.log)) from None
    if code:
        raise ActionError(f"job.restart_command: exit {code}", _said(command.log))
    return "job.restart_command: exit 0", _said(command.log)


def _environment(action: RestartJob) -> dict[str, str]:
    ours = {
        "SENTINEL_RESTART": action.id,
        "SENTINEL_INCIDENT": action.incident,
        "SENTINEL_JOB": action.job,
        "SENTINEL_CAUSE": action.cause,
        "SENTINEL_AVOID": ",".join(action.avoid),
    }
    return {name: value for name, value in os.environ.items() if not name.startswith(KEPT)} | ours


def _said(log: Path) -> tuple[str, ...]:
    """Give the end of what it said, without secrets; nothing when it said nothing."""
    with contextlib.suppress(OSError), log.open("rb") as said:
        said.seek(max(0, os.fstat(said.fileno()).st_size - TAIL_BYTES))
        text = said.read(TAIL_BYTES).decode(errors="replace").strip()
        return (redact(text),) if text else ()
    return ()
