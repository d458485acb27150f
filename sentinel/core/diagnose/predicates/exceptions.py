"""Exceptions, and whether they follow the code or the node."""

from collections.abc import Iterator
from itertools import combinations

from sentinel.core.diagnose.predicates.case import Case, Match, suspect_of, who_raised
from sentinel.core.diagnose.predicates.starts import at_start, starts_nowhere
from sentinel.model.action import Resume
from sentinel.model.fact import JobAdvanced, RankRaised
from sentinel.model.incident import Suspect
from sentinel.model.outside import Whose, named, whose


def user_exception(case: Case) -> Match | None:
    """The training code itself raised."""
    raised = [fact for fact in case.raised() if fact.kind == "user"]
    if not raised:
        return None
    first = raised[0]
    why = f"rank {first.rank} on {first.node} raised {first.error}{_to_look_at(first)}"
    return Match((suspect_of(first),), why)


def _to_look_at(fact: RankRaised) -> str:
    """Say what gave a rank's code an error that no code makes, and from where to look at it."""
    if not (who := whose(fact.error)).is_outside:
        return ""
    what = named(fact.error) or ("its volumes" if who is Whose.STORAGE else "its peers")
    return f"; an error of {who.value}: look at {what} from {fact.node}"


def follows_the_code(case: Case) -> Match | None:
    """The same exception of the same rank at the same step on another node, or wherever a worker starts."""
    return _follows_a_rank(case, Whose.CODE) or _keeps_all_from_starting(case, Whose.CODE)


def follows_a_setting(case: Case) -> Match | None:
    """So does an error that says that a path, a name or a permission is not as the job expects it."""
    return _follows_a_rank(case, Whose.SETTING) or _keeps_all_from_starting(case, Whose.SETTING)


def _keeps_all_from_starting(case: Case, who: Whose) -> Match | None:
    """Say whether workers end by it as they start, on all nodes where any was tried."""
    last = {fact.node: fact for fact in at_start(case)}
    kinds = {_type(fact) for fact in last.values()}
    if not last or len(kinds) > 1 or not starts_nowhere(case):
        return None
    newest = max(last.values(), key=lambda fact: fact.at)
    if whose(newest.error) is not who:
        return None
    return Match((), f"{newest.error}, as workers start on {', '.join(sorted(last))}")


def _follows_a_rank(case: Case, who: Whose) -> Match | None:
    for earlier, later in _exception_pairs(case):
        same = (earlier.step, earlier.error, earlier.rank) == (later.step, later.error, later.rank)
        if same and earlier.node != later.node and whose(later.error) is who:
            why = f"{later.error} at step {later.step} on {earlier.node} and again on {later.node}"
            return Match((Suspect(rank=later.rank),), why)
    return None


def comes_from_outside(case: Case) -> Match | None:
    """Storage or the network gave ranks of several nodes an error: none of them is to blame."""
    raised = [fact for fact in (*_raised(case), *at_start(case)) if whose(fact.error).is_outside]
    places = {fact.node: fact for fact in raised}
    if len(places) < case.rules.policy.several:
        return None
    last = raised[-1]
    known = f"{whose(last.error).value}, on {', '.join(sorted(places))}"
    return Match((), f"{who_raised(last)} on {last.node} raised {last.error} ({known})")


def follows_the_node(case: Case) -> Match | None:
    """Another rank fails the same way on the node that the first was moved from, where that one does not.

    A rank that failed there at first, too, is no counter-test, until it passes elsewhere as well.
    """
    for earlier, later in _exception_pairs(case):
        raised = _raised(case)
        passed = all((f.rank, f.generation) != (earlier.rank, later.generation) for f in raised)
        again = any(
            (f.rank, f.node) == (later.rank, later.node) and f.generation < later.generation for f in raised
        )
        other = earlier.node == later.node and earlier.rank != later.rank and not again
        tested = passed and _moved_away(case, earlier, later.generation) and _came(case, earlier, later)
        if other and tested and _is_often(case, later):
            why = f"{earlier.node}: rank {earlier.rank} raised there, and after a move rank {later.rank}"
            return Match((Suspect(later.node, later.rank, later.gpu),), why)
    return _left_behind(case)


def _left_behind(case: Case) -> Match | None:
    """Several ranks failed on one node, and again until the last of them was moved; then the step passed."""
    raised, passed = list(_raised(case)), case.last(JobAdvanced)
    nodes, ranks = {fact.node for fact in raised}, sorted({fact.rank for fact in raised})
    generations = {fact.generation for fact in raised}
    alike = len({_type(fact) for fact in raised}) == len(nodes) == 1
    if passed is None or not alike or min(len(ranks), len(generations)) < case.rules.policy.several:
        return None
    if not _is_often(case, raised[-1]):
        return None
    later = passed.generation > max(generations) and passed.step >= max(fact.step for fact in raised)
    if not later or not all(_moved_away(case, fact, passed.generation) for fact in raised):
        return None
    named = ", ".join(map(str, ranks))
    why = f"{raised[0].node}: ranks {named} raised there, and step {passed.step} passed once they had moved"
    return Match((Suspect(raised[0].node),), why)


def _is_often(case: Case, fact: RankRaised) -> bool:
    """Say whether it came often enough to accuse its node of it.

    What nodes share may strike one of them twice by chance: an error from outside has to come as often there
    as a crash.
    """
    if not whose(fact.error).is_outside:
        return True
    there = {each.generation for each in _raised(case) if each.node == fact.node}
    return len(there) >= case.rules.policy.crashes_per_hour


def desync(case: Case) -> Match | None:
    """A rank reports that collectives do not match between ranks."""
    for fact in case.all(RankRaised):
        text = fact.error.lower()
        if "mismatch" in text and "collective" in text:
            return Match((suspect_of(fact),), f"rank {fact.rank}: {fact.error}")
    return None


def _moved_away(case: Case, raised: RankRaised, generation: int) -> bool:
    """Say whether this rank sat on another node in that generation."""
    formed = (a for a in case.incident.actions if isinstance(a, Resume) and a.generation == generation)
    seats = (seat for action in formed for seat in action.seats if seat.rank == raised.rank)
    return any(seat.node != raised.node for seat in seats)


def _came(case: Case, earlier: RankRaised, later: RankRaised) -> bool:
    """Say whether a rank sits there only since the first one left; one that always did is no test."""
    worker = case.state.workers.get(later.job, later.worker)
    return worker is not None and worker.seated > earlier.generation


def _raised(case: Case) -> list[RankRaised]:
    return [fact for fact in case.all(RankRaised) if fact.kind == "user"]


def _exception_pairs(case: Case) -> Iterator[tuple[RankRaised, RankRaised]]:
    """Exceptions of one type in two generations, the earlier one first."""
    for earlier, later in combinations(_raised(case), 2):
        if earlier.generation < later.generation and _type(earlier) == _type(later):
            yield earlier, later


def _type(fact: RankRaised) -> str:
    return fact.error.partition(":")[0]
