"""Ranks that end, again and again on one node, or that lose peers of whom none is to blame."""

from collections import Counter

from sentinel.core import proofs
from sentinel.core.diagnose.predicates.case import Case, Match, suspect_of
from sentinel.core.diagnose.predicates.hangs import laggard
from sentinel.core.diagnose.predicates.nodes import pinged
from sentinel.core.diagnose.predicates.paces import stopped_again
from sentinel.core.evidence import ECHOES, gave_up
from sentinel.core.exits import first_to_end
from sentinel.core.proofs import PROBATION
from sentinel.core.state.rows import Job, Node
from sentinel.core.state.timers import Timer
from sentinel.model.counted import counted
from sentinel.model.fact import JobAdvanced, RankExited, RankRaised
from sentinel.model.ids import HOUR_S, Instant
from sentinel.model.incident import Diagnosis, Suspect


def rank_exited(case: Case) -> Match | None:
    """Ranks' processes ended by themselves or were killed; who only left for its peers' sake is not named."""
    exits = [fact for fact in since_step(case) if fact.rank >= 0]
    if not any(fact.generation == case.newest for fact in exits):
        return None
    ended = [fact for fact in exits if not gave_up(fact)]
    if not ended:
        return None  # they ended because they had lost somebody
    job = case.state.job_of(case.incident)
    first = _first(case, job, ended) if job and job.watched else ended
    if not first:
        return None
    why = ", ".join(f"rank {e.rank} (pid {e.pid}) on {e.node} ended: {e.how}" for e in first)
    after = ", ".join(f"{e.rank} ({e.how})" for e in ended if e not in first)
    return Match(tuple(dict.fromkeys(map(suspect_of, first))), why + (after and f"; then ranks {after}"))


def _first(case: Case, job: Job, exits: list[RankExited]) -> list[RankExited]:
    all_gone = len(exits) + case.state.workers.done(job.id) >= job.world
    return first_to_end(exits, case.rules.policy, all_gone=all_gone)


def ended_together(case: Case) -> Match | None:
    """A watched job's ranks were asked to end, or all are gone and nobody can tell how."""
    job = case.state.job_of(case.incident)
    exits = [fact for fact in since_step(case) if fact.rank >= 0 and fact.generation == case.newest]
    if job is None or not job.watched or not exits or _first(case, job, exits):
        return None
    return Match((), "ranks " + ", ".join(f"{fact.rank} ({fact.how})" for fact in exits) + " ended")


def ended_unheard(case: Case) -> Match | None:
    """No agent could tell that a node's ranks ended: it is dead, they answer nobody, and peers lost them."""
    raised, job = case.raised(), case.state.job_of(case.incident)
    lost = [f.node for f in pinged(case) if (f.agent, f.raylet) == ("refused", "ok") and f.step < 0]
    if not raised or job is None or rank_exited(case) or any(fact.kind not in ECHOES for fact in raised):
        return None
    gone = [worker for _, worker in case.state.seated(job) if worker.node in lost]
    if job.generation != case.newest or not gone:
        return None
    why = ", ".join(f"rank {worker.rank} on {worker.node}" for worker in gone)
    why = f"the others have lost {why}, and nothing answers there; the agent that could tell is dead, too"
    return Match(tuple(Suspect(worker.node, worker.rank, worker.gpu) for worker in gone), why)


def since_step(case: Case) -> list[RankExited]:
    """Ends since the job's last new step: no generation that formed since has got anywhere."""
    facts = case.incident.evidence
    stepped = max((place for place, fact in enumerate(facts) if isinstance(fact, JobAdvanced)), default=-1)
    return [fact for fact in facts[stepped + 1 :] if isinstance(fact, RankExited)]


def repeats_on_node(case: Case) -> Match | None:
    """Ranks of one node crash or hang again and again within the hour; on probation once is enough."""
    hung = laggard(case) or stopped_again(case)
    named = {fact.node for fact in case.all(RankExited)} | {fact.node for fact in case.all(RankRaised)}
    named |= {suspect.node for suspect in hung.suspects if suspect.node} if hung else set()
    for name in sorted(named):
        node = case.state.nodes.get(name)
        if node is None:
            continue
        probation = proofs.on_probation(node, case.state)
        limit = 1 if probation else case.rules.policy.crashes_per_hour
        if len(node.failures) < limit:
            continue
        recent = len(_failed_alone(case, node))
        if recent >= limit and _stands_out(case, node, recent):
            why = f"{node.id}: crash or hang {counted(recent, 'time')} within an hour"
            return Match((Suspect(node.id),), f"{why}{PROBATION if probation else ''}")
    return None


def _stands_out(case: Case, node: Node, count: int) -> bool:
    """Say whether no other node fails nearly as often: what strikes them all alike is the program's."""
    others = (o for o in case.state.nodes.values() if o is not node and o.failures and not o.cordon)
    fewer = max(0, count - case.rules.policy.several)
    return all(len(_failed_alone(case, other)) <= fewer for other in others)


def repeats_with_rank(case: Case) -> Match | None:
    """One rank keeps failing on a second node: it takes the reason along, so no node is it."""
    job, hung = case.state.job_of(case.incident), laggard(case) or stopped_again(case)
    if job is None:
        return None
    ranks = {fact.rank for fact in case.all(RankExited) if fact.generation == case.newest}
    ranks |= {suspect.rank for suspect in hung.suspects if suspect.rank is not None} if hung else set()
    for rank in sorted(ranks):
        times = Counter(node for _, each, node, _ in job.failed if each == rank)
        often = [node for node, count in times.items() if count >= case.rules.policy.crashes_per_hour]
        if len(often) >= case.rules.policy.several:
            why = " and ".join(f"{counted(times[node], 'time')} on {node}" for node in often)
            return Match((Suspect(rank=rank),), f"rank {rank} crashed or hung {why}")
    return None


def _failed_alone(case: Case, node: Node) -> list[Instant]:
    """When this node's ranks failed and no other node's: what strikes several at once is no node's fault."""
    since, apart = case.state.now - HOUR_S, case.rules.policy.gather_s + case.rules.policy.stall_s
    others = [at for other in case.state.nodes.values() if other is not node for at in other.failures]
    return [at for at in node.failures if at > since and all(abs(at - each) > apart for each in others)]


def gang_broken(case: Case) -> Match | None:
    """Collectives failed or gave up on ranks that are all there; the time to wait for a culprit is over."""
    raised, newest = case.raised(), case.newest
    left = [fact for fact in since_step(case) if fact.generation == newest and gave_up(fact)]
    waiting = Timer.BROKEN.of(case.incident.id) in case.state.deadlines
    if not (raised or left) or waiting or any(fact.kind not in ECHOES for fact in raised):
        return None
    known, job = case.incident.diagnosis, case.state.job_of(case.incident)
    is_over = job is not None and job.generation > newest
    if is_over and known is not None and not _is_this(case, known):
        return None  # the ended rank, the laggard or the lost node explains why this generation broke
    if rank_exited(case) or laggard(case) or pinged(case):
        return None
    if not raised:
        who = ", ".join(f"{fact.rank} ({fact.how})" for fact in left)
        who = f"rank {who} stopped itself" if len(left) == 1 else f"ranks {who} stopped themselves"
        return Match((), f"{who}: what was waited for can't come")
    why = f"{counted(len(raised), 'rank')} lost peers, first rank {raised[0].rank} on {raised[0].node}"
    return Match((), f"{why}: {raised[0].error}")


def _is_this(case: Case, known: Diagnosis) -> bool:
    """Say whether a diagnosis is that of a gang which broke and nobody is to blame."""
    book = case.rules.runbooks.get(known.cause)
    return book is not None and any(looks.predicate == gang_broken.__name__ for looks in book.matches)
