"""What counts only when it comes again: a program's Xid on one place of a GPU, an error of one NVLink."""

from msgspec.structs import replace

from sentinel.core import proofs
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Node
from sentinel.model.counted import counted
from sentinel.model.fact import FindingReported
from sentinel.model.finding import Finding, Health, gpu_of
from sentinel.model.ids import DAY_S, Instant

KEPT = 100
"""Strikes kept per node: one fault may strike every part of a GPU."""
LINK_STRIKE, LINK_BROKEN = "nvlink-strike", "nvlink-repeated"
CONTAINED = 94
COUNTER = "ecc-uncorrectable"


def place_of(found: Finding) -> str:
    """Name where a finding strikes: a component, and what part of it if the finding says so."""
    return f"{found.component} {found.evidence.get('place', '')}".rstrip()


def component_of(place: str) -> str:
    """Return the component that a place is in."""
    return place.partition(" ")[0]


def is_ours(found: Finding) -> bool:
    """Say whether an error is one of our ranks': nobody else's speaks against a GPU. Old ones don't say."""
    return found.evidence.get("owner", "ours") == "ours"


def count(state: State, node: Node, fact: FindingReported, rules: Rules) -> FindingReported:
    """Count an event where its like counts; gives it back, worse if it has come too often on one link."""
    count_app_xid(state, node, fact, rules)
    count_contained(state, node, fact.finding, fact.finding.count)
    found, at = fact.finding, fact.happened
    if found.code != LINK_STRIKE:
        return fact
    struck = _struck(node.link_errors, at, place_of(found), rules.policy.correlate_s)
    state.change(node, link_errors=struck)
    times = [each for each, place in struck if place == place_of(found) and each > at - DAY_S]
    needed = found.evidence.get("strikes")
    needed = needed if isinstance(needed, int) else rules.policy.several
    if len(times) < (1 if proofs.on_probation(node, state) else needed):
        return fact
    said = f"{found.summary}, {counted(len(times), 'time')} within a day"
    return replace(fact, finding=replace(found, code=LINK_BROKEN, health=Health.CRITICAL, summary=said))


def count_app_xid(state: State, node: Node, fact: FindingReported, rules: Rules) -> None:
    """Count a fault of one of our programs on its own GPU: one on its neighbour's is the program's."""
    found = fact.finding
    seats = [worker.gpu for worker in state.ranks_named(fact)]
    if seats and gpu_of(found.component) not in (None, *seats):
        return
    if is_ours(found) and any(book.strikes for book in rules.by_code.get(found.code, ())):
        struck = _struck(node.app_xids, fact.happened, place_of(found), rules.policy.correlate_s)
        state.change(node, app_xids=struck)


def count_contained(state: State, node: Node, found: Finding, more: int) -> None:
    """Count contained memory errors: each line may be one."""
    if found.evidence.get("xid") == CONTAINED:
        known = node.contained.get(found.component, 0)
        state.change(node, contained={**node.contained, found.component: known + more})


def _struck(
    strikes: tuple[tuple[Instant, str], ...], at: Instant, place: str, apart: float
) -> tuple[tuple[Instant, str], ...]:
    """Count one fault once at each place: the kernel writes several lines about it."""
    if any(where == place and abs(at - each) < apart for each, where in strikes):
        return strikes
    return (*strikes[1 - KEPT :], (at, place))


def is_contained(node: Node, found: Finding) -> bool:
    """Say whether contained errors, which the kernel told of one by one, are all that a GPU has counted."""
    errors = found.evidence.get("ecc_uncorrectable")
    known = node.contained.get(found.component, 0)
    return found.code == COUNTER and isinstance(errors, int) and 0 < errors <= known
