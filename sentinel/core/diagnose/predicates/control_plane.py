"""What Sentinel itself stands on, Ray's GCS, the link to it, the journal, and what a job does: GPUs."""

from sentinel.core.diagnose.predicates.case import Case, Match
from sentinel.core.evidence import unreported
from sentinel.core.state.rows import JobStage
from sentinel.model.counted import counted
from sentinel.model.fact import DeadlinePassed, GcsLost, JournalFailed, LinkLost


def gcs_dead(case: Case) -> Match | None:
    """Ray's GCS does not answer: how it was lost first, for later it may be so because it was restarted."""
    lost = next(case.all(GcsLost), None)
    return Match((), f"the GCS at {lost.address} does not answer: {lost.detail}") if lost else None


def link_lost(case: Case) -> Match | None:
    """The controller's link to Ray has ended or hangs."""
    lost = case.last(LinkLost)
    return Match((), f"Ray can't be asked: {lost.detail}") if lost else None


def lacks_room(case: Case) -> Match | None:
    """A job waits for GPUs, and the nodes have fewer."""
    job, state = case.state.job_of(case.incident), case.state
    if job is None or job.stage is not JobStage.WAITING or not case.all(DeadlinePassed):
        return None
    here = state.usable_gpus()
    waits = f"{job.id} waits for {counted(job.world, 'GPU')}, and finds {state.room}"
    more = "`ray start --address=HOST:PORT` on more nodes, `sentinel undrain NODE`, or a smaller job.world"
    return Match((), f"{waits}: {more}") if here < job.world else None


def scheduler_untold(case: Case) -> Match | None:
    """The scheduler could not be told of a cordon, or of its end."""
    nodes = [case.state.nodes[name] for name in sorted(unreported(case.incident))]
    said = [f"{node.id} is {node.to_scheduler}" for node in nodes]
    last = max(nodes, key=lambda node: node.outside.tries, default=None)
    if last is None:
        return None
    tried = f"{counted(last.outside.tries, 'try')} in a row failed: {last.outside.why}"
    return Match((), f"the scheduler does not know that {', '.join(said)}; {tried}")


def journal_failed(case: Case) -> Match | None:
    """The journal can't be written."""
    failed = case.last(JournalFailed)
    return Match((), f"the journal can't be written: {failed.detail}") if failed else None
