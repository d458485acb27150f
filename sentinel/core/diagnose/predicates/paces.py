"""A job whose steps all became slow: who holds the others up, if anybody does."""

from sentinel.core.diagnose.predicates.case import Case, Match
from sentinel.model.counted import counted
from sentinel.model.fact import JobSlowed, RankLooks
from sentinel.model.incident import Suspect
from sentinel.model.policy import Policy


def stopped_again(case: Case) -> Match | None:
    """One rank is stopped again and again, and the others wait for it each time."""
    slowed = _slowed(case)
    suspect = stands_out(slowed, case.rules.policy) if slowed else None
    if slowed is None or suspect is None or not is_stopped_again(suspect):
        return None
    return Match((_place(suspect),), f"{_pace(slowed)}; {_held(suspect)}")


def job_slow(case: Case) -> Match | None:
    """All steps take much longer than usual; whom the others wait for is named, and not acted on.

    A rank that only computes for longer is told by its time outside collectives, with more patience.
    """
    slowed = _slowed(case)
    if slowed is None or stopped_again(case):
        return None
    if (suspect := stands_out(slowed, case.rules.policy)) is not None:
        return Match((_place(suspect),), f"{_pace(slowed)}; {_held(suspect)}")
    return Match((), f"{_pace(slowed)}; no rank stands out")


def more_work(fact: JobSlowed, policy: Policy) -> bool:
    """Say whether every rank computes for longer in each step: its batches have grown."""
    more, usual = fact.outside_s - fact.usual_outside_s, fact.usual_outside_s
    grown = usual > 0 and fact.outside_s >= policy.slow_pace_factor * usual
    return grown and more >= policy.work_share * (fact.step_s - fact.usual_s)


def stands_out(fact: JobSlowed, policy: Policy) -> RankLooks | None:
    """Return the rank that the others wait for far more than for any other, and than they usually do."""
    shares = [each.held / each.looks - each.usual for each in fact.ranks]
    if not shares or shares[0] < policy.held_share or any(share > shares[0] / 2 for share in shares[1:]):
        return None
    return fact.ranks[0]


def is_stopped_again(suspect: RankLooks) -> bool:
    """Say whether it mostly is its process that stands still, not its work that takes long."""
    return 2 * suspect.stopped > suspect.held


def _slowed(case: Case) -> JobSlowed | None:
    """Return what was reported of the present generation."""
    slowed = case.last(JobSlowed)
    job = case.state.jobs.get(slowed.job) if slowed else None
    return slowed if slowed and job and slowed.generation == job.generation else None


def _place(suspect: RankLooks) -> Suspect:
    return Suspect(suspect.node, suspect.rank, suspect.gpu)


def _pace(fact: JobSlowed) -> str:
    return f"a step takes {fact.step_s:.3g} s, usually {fact.usual_s:.3g} s, for {fact.for_s:.0f} s"


def _held(suspect: RankLooks) -> str:
    awaited = f"{counted(suspect.held, 'time')} awaited by all others"
    seen = f"{suspect.stopped} of {suspect.looks} times, and {awaited}"
    return f"rank {suspect.rank} on {suspect.node} was seen stopped {seen}"
