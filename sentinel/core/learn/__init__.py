"""What a fact says of nodes, ranks, jobs and incidents. Nothing is decided here."""

from typing import assert_never

from sentinel.core import recovery
from sentinel.core.learn import (
    baselines,
    control,
    cordons,
    findings,
    fitness,
    jobs,
    maintenance,
    nodes,
    operator,
    outcomes,
    paces,
    preflights,
    proofs,
    ranks,
    silences,
    starting,
    watching,
)
from sentinel.core.state import Rules, State
from sentinel.core.state.timers import Timer
from sentinel.model.fact import (
    Commanded,
    ControllerPaused,
    ControllerStarted,
    DeadlinePassed,
    DefectMet,
    Fact,
    FindingReported,
    GangSeen,
    GcsBack,
    GcsLost,
    JobAdvanced,
    JobAtPace,
    JobPaced,
    JobSlowed,
    JobStalled,
    JobSubmitted,
    JobUnderway,
    JournalBack,
    JournalFailed,
    LinkBack,
    LinkLost,
    MembersProbed,
    NodeCordoned,
    NodeHeard,
    NodeJoined,
    NodeLeft,
    NodePinged,
    NodeProbed,
    NodeSilent,
    NodeUncordoned,
    Outcome,
    RankAtPace,
    RankExited,
    RankRaised,
    RankSlow,
    WorkerReady,
    WorkerRuns,
    WorkerStopped,
)
from sentinel.model.ids import IncidentId, JobId, NodeId
from sentinel.model.report import AT_START


def learn(state: State, fact: Fact, rules: Rules) -> None:  # one line per fact, however many there are
    """Take one fact in."""
    match fact:  # what comes in thousands stands first, for each case is asked in turn
        case Outcome():
            outcomes.outcome(state, fact, rules)
        case WorkerReady():
            jobs.worker_ready(state, fact)
        case FindingReported():
            findings.finding(state, fact, rules)
        case NodeHeard():
            nodes.heard(state, fact, rules)
        case NodeJoined():
            before = state.nodes[fact.node].boot if fact.node in state.nodes else ""
            nodes.joined(state, fact, rules)
            proofs.back(state, fact, before, rules)
            preflights.expect(state, rules)
        case NodeSilent():
            nodes.silent(state, fact, rules)
        case NodeLeft():
            nodes.left(state, fact)
        case NodeCordoned():
            cordons.cordoned(state, fact)
        case NodeUncordoned():
            cordons.uncordoned(state, fact, rules)
        case NodePinged():
            nodes.pinged(state, fact, rules)
        case NodeProbed():
            ranks.probed(state, fact)
            proofs.checked(state, fact, rules)
        case MembersProbed():
            baselines.measured(state, fact, rules)
            ranks.members_probed(state, fact)
            preflights.measured(state, fact, rules)
            proofs.measured(state, fact, rules)
        case RankExited():
            ranks.exited(state, fact, rules)
        case RankRaised(kind=kind) if kind == AT_START:
            starting.raised(state, fact)
        case RankRaised():
            ranks.raised(state, fact, rules)
        case JobStalled():
            ranks.stalled(state, fact, rules)
        case JobAdvanced():
            jobs.advanced(state, fact, rules)
        case JobUnderway():
            jobs.underway(state, fact, rules)
        case JobPaced():
            jobs.paced(state, fact, rules)
        case RankSlow():
            ranks.slow(state, fact, rules)
        case RankAtPace():
            ranks.keeps_up(state, fact)
        case JobSlowed():
            paces.slowed(state, fact, rules)
        case JobAtPace():
            paces.at_pace(state, fact, rules)
        case WorkerStopped():
            fitness.stopped(state, fact, rules)
        case WorkerRuns():
            fitness.runs(state, fact)
        case JobSubmitted():
            jobs.submitted(state, fact, rules)
        case GangSeen():
            watching.seen(state, fact, rules)
        case GcsLost() | LinkLost() | JournalFailed():
            control.lost(state, fact, rules)
        case GcsBack() | LinkBack():
            control.ray_back(state, fact, rules)
        case DefectMet():
            control.defect_met(state, fact)
        case JournalBack():
            control.journal_back(state, fact, rules)
        case Commanded():
            operator.command(state, fact, rules)
        case DeadlinePassed():
            _passed(state, fact, rules)
        case ControllerStarted():
            control.controller_started(state, fact, rules)
            preflights.expect(state, rules)
        case ControllerPaused():
            control.controller_paused(state, fact)
        case _:
            assert_never(fact)


def _passed(state: State, fact: DeadlinePassed, rules: Rules) -> None:
    """A wait is over. Of most that is all there is to know: whoever waited looks again."""
    state.deadlines.drop(fact.deadline)
    name, _, rest = fact.deadline.partition("/")
    first, _, second = rest.partition("/")
    incident, job = state.incidents.get(IncidentId(first)), state.jobs.get(JobId(first))
    match timer := Timer(name):
        case Timer.GATHER | Timer.BROKEN | Timer.STACKS | Timer.MEMBERS if incident is not None:
            ranks.waited(state, incident, timer, rules)
        case Timer.AGAIN:
            outcomes.not_heard(state, IncidentId(first), fact, rules)
        case Timer.STANDS:
            findings.stands(state, NodeId(first), second, rules)
        case Timer.MAINTAIN:
            maintenance.end(state, NodeId(first), rules)
        case Timer.SILENCE:
            silences.end(state, rest)
        case Timer.IDLE:
            preflights.look(state, rules)
        case Timer.PREFLIGHT:
            preflights.late(state, NodeId(first), rules)
        case Timer.PROOF:
            proofs.late(state, NodeId(first), rules)
        case Timer.REBOOT:
            proofs.not_back(state, NodeId(first), rules)
        case Timer.TRUST:
            starting.trust_again(state, NodeId(first))
        case Timer.RESUME if job is not None and second == str(job.generation):
            outcomes.lapsed(state, job, fact, rules)
        case Timer.ROOM if job is not None:
            jobs.lacks_room(state, job, fact)
        case Timer.FINISH if job is not None:
            ranks.left_early(state, job, rules)
        case Timer.SETTLED if job is not None:
            recovery.ends(state, job, rules)
        case Timer.PACED if job is not None:
            jobs.pace_is_back(state, state.change(job, paced_s=0.0), rules)
        case Timer.PLACE | Timer.REFILL if job is not None:
            nodes.look_again(state, job.id)
        case _:
            pass
