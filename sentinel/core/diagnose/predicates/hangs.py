"""Ranks that hold the others up: they hang, wait for data or are slow."""

from sentinel.core.detect.laggards import laggards
from sentinel.core.diagnose.predicates.case import Case, Match, suspect_of
from sentinel.core.diagnose.predicates.flights import seconded
from sentinel.model.counted import counted
from sentinel.model.fact import JobStalled, RankSlow
from sentinel.model.incident import Diagnosis, Suspect
from sentinel.model.report import NOT_RUNNING, STOPPED
from sentinel.model.runbook import Symptom


def _stall(case: Case) -> JobStalled | None:
    stall = case.last(JobStalled)
    job = case.state.jobs.get(stall.job) if stall else None
    return stall if stall and job and stall.generation == job.generation else None


def laggard(case: Case) -> Match | None:
    """One or a few ranks hold up a gang that stands still."""
    stall = _stall(case)
    if stall is None:
        return None
    world = case.state.jobs[stall.job].world
    found = laggards(stall.beats, world, case.rules.policy)
    if not found.ranks or len(stall.beats) < world:
        return None
    where = dict(zip((beat.rank for beat in stall.beats), stall.nodes, strict=True))
    if any(case.state.nodes[where[rank]].silent for rank in found.ranks):
        return None  # that its node is silent says more
    gpus = {beat.rank: beat.gpu for beat in stall.beats}
    suspects = tuple(Suspect(where[rank], rank, gpus[rank]) for rank in found.ranks)
    match = Match(suspects, f"no step for {stall.stalled_s:.1f} s; {found.why}", found.sure)
    return seconded(case, stall, match)


def hangs_by_turns(case: Case) -> Match | None:
    """Ranks of several nodes are behind by turns, one of them again: what is between them is to blame."""
    found = laggard(case)
    hung = {node for known in case.incident.broke_of if _names_hang(case, known) for node in known.nodes}
    again = {suspect.node for suspect in found.suspects if suspect.node in hung} if found else set()
    if found is None or not again or len(hung) < case.rules.policy.several:
        return None
    return Match((), f"ranks on {', '.join(sorted(hung))} were behind by turns; {found.why}")


def _names_hang(case: Case, known: Diagnosis) -> bool:
    return known.cause in case.rules.naming_only(Symptom.STALLED)


def loader_stuck(case: Case) -> Match | None:
    """The rank that all wait for sits in its data loader."""
    found, stall = laggard(case), _stall(case)
    if found is None or stall is None:
        return None
    stuck = {beat.rank for beat in stall.beats if beat.phase == "data" and beat.state not in STOPPED}
    if not all(suspect.rank in stuck for suspect in found.suspects):
        return None
    return Match(found.suspects, f"{found.why}; it waits in its data loader", 1.0)


def all_loaders_stuck(case: Case) -> Match | None:
    """Every rank waits for data: what they share is slow."""
    stall = _stall(case)
    if stall is None or not stall.beats or len(stall.beats) < case.state.jobs[stall.job].world:
        return None
    running = all(beat.phase == "data" and beat.state not in NOT_RUNNING for beat in stall.beats)
    if not running or len(stall.beats) < case.rules.policy.several:
        return None
    return Match((), f"all {len(stall.beats)} ranks wait in their data loaders for {stall.stalled_s:.1f} s")


def slow_on_every_node(case: Case) -> Match | None:
    """A rank is as slow on the node that it was moved to: it has more work than its peers."""
    slow = case.last(RankSlow)
    places = case.state.jobs[slow.job].slow_places(slow.rank, 0.0) if slow else set()
    if slow is None or len(places) < case.rules.policy.several:
        return None
    why = f"rank {slow.rank} was slow on {', '.join(sorted(places - {slow.node}))} and is on {slow.node}"
    return Match((Suspect(rank=slow.rank),), why)


def straggler(case: Case) -> Match | None:
    """One rank is slower outside collectives than its peers, step after step."""
    slow = case.last(RankSlow)
    if slow is None:
        return None
    why = (
        f"rank {slow.rank} on {slow.node} needs {slow.outside_s * 1000:.0f} ms outside collectives, "
        f"its peers {slow.peers_s * 1000:.0f} ms, for {counted(slow.steps, 'step')}"
    )
    return Match((suspect_of(slow),), why)
