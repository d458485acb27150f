"""Why something is not done: what an object waits for, in words."""

from sentinel.core.settle import generation
from sentinel.core.settle.guards import refuse_action, refuse_start
from sentinel.core.settle.seating import Cannot, Later, Wait
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Job, JobStage, Want


def needs(state: State, job: Job, rules: Rules) -> str:
    """Say what a job that does not train waits for; empty when it trains, forms, or was stopped."""
    if job.stage not in (JobStage.WAITING, JobStage.BROKEN):
        return ""
    if blocked := refuse_start(state) if job.starts else refuse_action(state, rules):
        return f"permission: {blocked}"
    here = generation.gpus(state)
    if here < job.world and not state.crew.has(job.id):
        usable = sum(node.usable for node in state.nodes.values())
        return f"{job.world} GPUs: the {usable} usable nodes have {here}"
    match generation.plan(job, job.want or Want(job.upkeep), state).seats:
        case Cannot(reason=reason):
            return f"a place: {reason}"
        case Later(first=first):
            return f"its turn: {first} is seated first"
        case Wait(lacking=lacking):
            return f"{lacking} workers"
    return ""
