"""Facts and actions in words: one line for people, and the raw evidence under it."""

from collections import Counter
from collections.abc import Mapping
from typing import assert_never

from sentinel.logbook.markdown import pairs
from sentinel.model import action as do
from sentinel.model import decision as decided
from sentinel.model import fact as learn
from sentinel.model.counted import counted
from sentinel.model.report import AT_START, RankBeat

WHOLE_FROM = 100
"""From here on three digits are left of the point."""
MOST_ERRORS = 3
"""Different reasons why nothing was measured that are told, the commonest."""


def fact_line(fact: learn.Fact) -> str:
    """Say what was learned, in one line."""
    match fact:
        case learn.NodeJoined():
            place = "".join(f", {kind} {name}" for kind, name in fact.labels.items())
            return (
                f"{fact.node} joined from {fact.address}:{fact.port} with {counted(fact.gpus, 'GPU')}{place}"
            )
        case learn.NodeSilent():
            others = f"{fact.others_silent} of {fact.nodes - 1} other nodes silent too"
            return f"{fact.node} has been silent for {fact.silent_s:.1f} s; {others}"
        case learn.NodeCordoned():
            return f"{fact.by} has cordoned {fact.node} in the scheduler{_because(fact.reason)}"
        case learn.NodeUncordoned():
            return f"{fact.node} is cordoned in the scheduler by nobody else any more"
        case learn.NodeLeft():
            return f"{fact.node} left: Sentinel was taken off it"
        case learn.NodeHeard():
            return f"{fact.node} reports again"
        case learn.NodePinged():
            step = (
                f", its ranks answer at step {fact.step}" if fact.step >= 0 else ", its ranks do not answer"
            )
            return f"{fact.node} looked at from here: agent {fact.agent}, raylet {fact.raylet}{step}"
        case learn.FindingReported(finding=finding):
            what = f"{finding.check}/{finding.code} {finding.health.value}: {finding.summary}"
            return f"{fact.node} {finding.component} {what}"
        case learn.NodeProbed():
            return f"{fact.node} probed ({fact.reason})"
        case learn.MembersProbed():
            return _members(fact)
        case learn.WorkerReady():
            return f"{fact.worker} on {fact.node}{_gpu(fact.gpu)} is warm (pid {fact.pid})"
        case learn.RankExited():
            who = f"rank {fact.rank}" if fact.rank >= 0 else f"standby {fact.worker}"
            return f"{who} on {fact.node}{_gpu(fact.gpu)} ended: {fact.how} (pid {fact.pid})"
        case learn.RankRaised(kind=kind) if kind == AT_START:
            return f"{fact.worker} on {fact.node}{_gpu(fact.gpu)} raised as it started: {fact.error}"
        case learn.RankRaised():
            where = f"rank {fact.rank} on {fact.node} gpu-{fact.gpu}"
            return f"{where} raised at step {fact.step} ({fact.kind}): {fact.error}"
        case learn.JobStalled():
            usual = f"a step usually takes {fact.median_step_s:.2f} s"
            return f"{fact.job} made no step for {fact.stalled_s:.1f} s ({usual})"
        case learn.JobAdvanced():
            return f"{fact.job} completed step {fact.step} in generation {fact.generation}"
        case learn.JobPaced():
            return f"a step of {fact.job} takes {fact.median_step_s:.2f} s"
        case learn.JobUnderway():
            where = f"repeats step {fact.step}" if fact.step >= 0 else "has made no step yet"
            return f"{fact.job} is on its way in generation {fact.generation}: it {where}"
        case learn.RankSlow():
            slow = f"{fact.outside_s:.3f} s outside collectives, its peers {fact.peers_s:.3f} s"
            slow += f", {counted(fact.steps, 'step')} in a row"
            return f"rank {fact.rank} on {fact.node} gpu-{fact.gpu} is slow: {slow}"
        case learn.RankAtPace():
            return f"rank {fact.rank} on {fact.node} keeps up again, {counted(fact.steps, 'step')} in a row"
        case learn.JobSlowed():
            return f"{fact.job} is slow: a step takes {fact.step_s:.3g} s, usually {fact.usual_s:.3g} s"
        case learn.JobAtPace():
            return f"{fact.job} keeps its pace: a step takes {fact.step_s:.3g} s"
        case learn.WorkerStopped():
            return f"standby {fact.worker} on {fact.node} stands still: state {fact.state}"
        case learn.WorkerRuns():
            return f"standby {fact.worker} on {fact.node} runs again"
        case learn.GcsLost():
            return f"the GCS at {fact.address} does not answer: {fact.detail}"
        case learn.GcsBack():
            return f"the GCS at {fact.address} answers again"
        case learn.LinkLost():
            return f"Ray can't be asked: {fact.detail}"
        case learn.LinkBack():
            return "Ray can be asked again"
        case learn.JobSubmitted():
            what = f"{fact.trainable} with {counted(fact.world, 'rank')}"
            return f"{fact.job} {'is watched' if fact.watched else f'asked for: {what}'}"
        case learn.GangSeen():
            nodes = dict.fromkeys(seen.node for seen in fact.ranks)
            ranks = counted(len(fact.ranks), "rank")
            return f"{fact.job} was started by somebody else: {ranks} on {', '.join(nodes)}"
        case learn.Commanded():
            return f"{fact.who} said {fact.command} {fact.target}".rstrip() + _because(fact.reason)
        case learn.Outcome():
            return f"{'done' if fact.ok else 'failed'}: {fact.action}{_because(fact.detail)}"
        case learn.DeadlinePassed():
            return f"deadline passed: {fact.deadline}"
        case learn.ControllerStarted():
            return f"the controller started (pid {fact.pid})"
        case learn.ControllerPaused():
            return f"the controller stood still for {fact.for_s:.1f} s"
        case learn.JournalFailed():
            return f"the journal failed: {fact.detail}"
        case learn.DefectMet():
            return f"a defect in Sentinel, in {fact.where}, with {fact.fact}: {fact.error}"
        case learn.JournalBack():
            return "the journal works again"
        case _:
            assert_never(fact)


def with_numbers(summary: str, evidence: Mapping[str, object], when: str = "") -> str:
    """Add to a finding's summary, which stays the same while it stands, the numbers it was judged by.

    They are told once, and not again while it stands: `when` says of what moment they are.
    """
    numbers = {name: value for name, value in evidence.items() if isinstance(value, int | float)}
    shown = ", ".join(f"{name.replace('_', ' ')} {_rounded(value)}" for name, value in numbers.items())
    return f"{summary} ({when and f'{when}: '}{shown})" if shown else summary


def _rounded(value: float) -> str:
    """Write what is measured to three digits; what is counted stays exact."""
    return f"{value:.3g}" if isinstance(value, float) and abs(value) < WHOLE_FROM else f"{value:.0f}"


def fact_raw(fact: learn.Fact) -> str:
    """Give a fact's raw evidence, several lines, or nothing."""
    match fact:
        case learn.FindingReported(finding=finding):
            return pairs(finding.evidence)
        case learn.RankRaised():
            return "\n".join(filter(None, (fact.traceback.strip("\n"), _losses(fact.values))))
        case learn.JobStalled():
            return "\n".join(_beat(beat, node) for beat, node in zip(fact.beats, fact.nodes, strict=False))
        case learn.Outcome():
            return "\n\n".join(text.strip("\n") for text in fact.data)
        case _:
            return ""


def action_line(action: do.Action) -> str:
    """Say what was decided, in one line."""
    match action:
        case do.Page():
            return f"page, revision {action.revision} ({action.stage}): {action.title}"
        case do.Evict():
            return f"evict {action.node}{_because(action.reason)}"
        case do.Resume():
            return _resume(action)
        case do.RestartJob():
            without = f" without {', '.join(action.avoid)}" if action.avoid else ""
            return f"run job.restart_command for {action.job}{without}"
        case do.StartWorker():
            return f"start {action.worker} on {action.node}{_gpu(action.gpu)}"
        case do.StopWorker():
            return f"kill {action.worker} on {action.node} (pid {action.pid})"
        case do.StopJob():
            return f"stop {action.job}{_because(action.reason)}"
        case do.CollectStacks():
            return f"collect the stacks of {counted(len(action.processes), 'rank')}"
        case do.Prove():
            return f"have {action.node} prove that it is well: {action.check or 'its own checks'}"
        case do.CallOff():
            return f"have {action.node} stop measuring: it is needed"
        case do.Repair(rung=rung):
            gpus = f" of {', '.join(f'gpu-{gpu}' for gpu in action.gpus)}" if action.gpus else ""
            return f"repair {action.node}: {rung.value}{gpus}"
        case do.Ping():
            return f"look at {action.node} from the controller"
        case do.RestartAgent():
            return f"restart the agent of {action.node}"
        case do.RestartGcs():
            return "restart the GCS"
        case do.Refusal():
            return f"not done: {action.wanted}{_because(action.reason)}"
        case _:  # what its id says is all
            return " ".join(action.id.split("/")[1:3])


def decision_line(decision: decided.Decision) -> str:
    """Say in one line what was recorded, of what nobody performs, too."""
    match decision:
        case decided.Opened():
            return f"open {decision.incident}: {decision.node} is still silent"
        case decided.Diagnosed(diagnosis=found):
            return f"diagnose {found.cause} ({found.confidence:.2f}){_because(found.why)}"
        case decided.Cordoned():
            return f"cordon {decision.node}{_because(decision.reason)}"
        case decided.Froze():
            return f"freeze actions: {decision.reason}" if decision.reason else "allow actions again"
        case decided.Wanted():
            return f"want another generation of {decision.job}"
        case decided.Awaited():
            return f"wait for {counted(decision.workers, 'worker')} of {decision.job}"
        case decided.Paused():
            return f"pause for {decision.seconds:g} s before {decision.job} forms again"
        case decided.Kept():
            return f"keep the generation of {decision.job}"
        case decided.GivenBack():
            return f"count the eviction of {', '.join(decision.nodes)} no longer"
        case decided.Resolved():
            return f"resolve {decision.incident}"
        case decided.Deferred():
            return "decide it together with the next"
        case _:
            return action_line(decision)


def _resume(action: do.Resume) -> str:
    how = ["with the running generation stopped at its step boundary"] if action.pause else []
    how += ["repeating the failed step to compare"] if action.replay else []
    how += [f"leaving out the batches of steps {', '.join(map(str, action.skip))}"] if action.skip else []
    nodes = len({seat.node for seat in action.seats})
    ranks = f"{counted(len(action.seats), 'rank')} on {counted(nodes, 'node')}"
    return ", ".join([f"resume {action.job} as generation {action.generation} with {ranks}", *how])


def _gpu(gpu: int) -> str:
    return f" gpu-{gpu}" if gpu >= 0 else ""  # a standby has none yet


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _losses(values: tuple[float, ...]) -> str:
    return "\n".join(f"rank {rank}: loss {value}" for rank, value in enumerate(values))


def _beat(beat: RankBeat, node: str) -> str:
    collectives = f"collectives {beat.completed}/{beat.enqueued}"
    age = f"state {beat.state}, beat {beat.beat_age_s:.1f} s old"
    return f"rank {beat.rank:<4} {node:<12} step {beat.step} {beat.phase:<10} {collectives}, {age}"


def _members(fact: learn.MembersProbed) -> str:
    errors = Counter(sample.error for sample in fact.samples if sample.error)
    answered = len(fact.samples) - errors.total()
    found = "; ".join(f"{each.node}: {each.finding.summary}" for each in fact.findings)
    nothing = "nothing stands out" if answered else "so nothing is known"
    what = fact.error or found or nothing
    what += "".join(f"; {counted(times, 'time')} {error}" for error, times in errors.most_common(MOST_ERRORS))
    asked = f", asked by {fact.who}" if fact.who else ""
    return f"{fact.check} probe{asked}: {answered} of {len(fact.samples)} measurements; {what}"
