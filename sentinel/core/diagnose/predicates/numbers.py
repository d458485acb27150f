"""Steps with wrong numbers: computing them again tells whether data or hardware did it."""

from sentinel.core.diagnose.predicates.case import Case, Match, suspect_of
from sentinel.core.evidence import whose
from sentinel.model.fact import JobAdvanced, RankRaised
from sentinel.model.report import MISCOMPUTED


def loss_nan(case: Case) -> Match | None:
    """The loss is not finite; whether data or hardware did it, a replay tells."""
    nans = _nans(case)
    if not nans:
        return None
    why = f"the loss of step {nans[-1].step} is not finite on rank {whose(nans[-1])}"
    return Match((), why)


def nan_again_same(case: Case) -> Match | None:
    """Replaying the step on the same batch gave the same ranks' NaN; every rank's is no batch's."""
    nans = _nans(case)
    if len(nans) < case.rules.policy.several:
        return None
    earlier, later = nans[-2], nans[-1]
    if earlier.step != later.step or whose(earlier) != whose(later):
        return None
    if len(whose(later)) == len(later.values) > 1:
        return None  # each rank has its own part of a batch: what is bad is the model
    return Match((), f"step {later.step} gives the same NaN on replay: its batch is bad")


def nan_not_repeated(case: Case) -> Match | None:
    """The replayed step came out finite: the rank that had the NaN, and says so itself, miscomputed."""
    nans, advanced = _nans(case), case.last(JobAdvanced)
    if len(nans) != 1 or advanced is None or advanced.at < nans[0].at:
        return None
    raised = (f for f in case.all(RankRaised) if (f.kind, f.generation) == ("nan", nans[0].generation))
    # Each fact says on which node its rank was when it raised.
    suspects = tuple(suspect_of(fact) for fact in raised if fact.rank in whose(fact))
    if len(suspects) != 1:
        return None
    rank = suspects[0].rank
    return Match(suspects, f"step {nans[0].step} was NaN on rank {rank} and is finite on replay")


def miscomputed(case: Case) -> Match | None:
    """The ranks of a generation have compared their devices, and agree on the one that computes wrong.

    It says so itself: what others say accuses no node.
    """
    raised = [fact for fact in case.raised() if fact.kind == MISCOMPUTED]
    suspects = tuple(suspect_of(fact) for fact in raised if whose(fact) == (fact.rank,))
    if len(suspects) != 1 or len({fact.values for fact in raised}) != 1:
        return None
    return Match(suspects, raised[0].error)


def _nans(case: Case) -> list[RankRaised]:
    by_generation: dict[int, RankRaised] = {}
    for fact in case.all(RankRaised):
        if fact.kind == "nan":
            by_generation.setdefault(fact.generation, fact)
    return list(by_generation.values())
