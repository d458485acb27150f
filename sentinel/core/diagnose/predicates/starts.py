"""Workers that do not start, and whether that is so everywhere."""

from collections import Counter

from sentinel.core.diagnose.predicates.case import Case, Match
from sentinel.core.evidence import symptoms
from sentinel.core.state.workers import WorkerStage
from sentinel.model.action import kind_of
from sentinel.model.fact import Outcome, RankRaised
from sentinel.model.incident import Suspect
from sentinel.model.report import AT_START


def at_start(case: Case) -> list[RankRaised]:
    """What workers ended by before they were warm, oldest first."""
    return [fact for fact in case.all(RankRaised) if fact.kind == AT_START]


def starts_nowhere(case: Case) -> bool:
    """Say whether no worker of the job has started on any node where one was tried, often enough to tell.

    Two nodes are enough; of one it takes several tries, and that there is no other to try it on.
    """
    job, raised = case.state.job_of(case.incident), at_start(case)
    if job is None or not raised:
        return False
    tries = Counter(fact.node for fact in raised)
    living = [worker for worker in case.state.workers.of(job.id) if worker.is_living]
    elsewhere = (
        worker for worker in living if worker.node not in tries or worker.stage is not WorkerStage.STARTING
    )
    if any(elsewhere):
        return False
    if len(tries) >= case.rules.policy.several:
        return True
    others = (node for node in case.state.nodes.values() if node.may_start and node.id not in tries)
    return max(tries.values()) >= case.rules.policy.start_attempts and not any(others)


def starts_fail(case: Case) -> Match | None:
    """A job's workers do not start on a node, again and again, and nothing else is wrong with the job."""
    outcomes = [fact for fact in case.all(Outcome) if kind_of(fact.action) == "start-worker"]
    raised = at_start(case)
    if not outcomes or any(fact not in raised for fact in symptoms(case.incident)):
        return None
    last = {fact.node: fact.error for fact in raised}
    told = [f"on {node}: {error}" for node, error in sorted(last.items())] or [outcomes[-1].detail]
    places = last if not starts_nowhere(case) else ()
    return Match(tuple(Suspect(node) for node in sorted(places)), f"workers do not start {'; '.join(told)}")
