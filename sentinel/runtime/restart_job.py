"""Starting a watched job again, by a command that is told what happened."""

from sentinel.core.state.rows import Job, JobStage
from sentinel.model.action import RestartJob
from sentinel.runtime.command_line import run
from sentinel.runtime.hands import OperatorsCommand


async def restart_job(action: RestartJob, job: Job, command: OperatorsCommand) -> tuple[str, tuple[str, ...]]:
    """Run the command once; gives how it went and what it said last.

    A controller that took over may run it again, with the same SENTINEL_RESTART, unless the job is back.
    Raises ActionError when it fails, or does not end in time: then it is killed.
    """
    if job.generation != action.generation or job.stage is not JobStage.FORMING:
        return "superseded", ()
    told = {
        "SENTINEL_RESTART": action.id,
        "SENTINEL_INCIDENT": action.incident,
        "SENTINEL_JOB": action.job,
        "SENTINEL_CAUSE": action.cause,
        "SENTINEL_AVOID": ",".join(action.avoid),
    }
    return await run(command, told)
