"""What counts only when it comes again: a program's Xid on one place of a GPU, an error of one NVLink."""

from msgspec.structs import replace

from sentinel.core.state import Node, Rules
from sentinel.model.fact import FindingReported
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import Cause, Instant

DAY_S = 86400.0
KEPT = 100
"""Strikes kept per node: one fault may strike every part of a GPU."""
APP_XID = Cause("gpu-app-xid")
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


def count(node: Node, fact: FindingReported, rules: Rules) -> FindingReported:
    """Count an event where its like counts; gives it back, worse if it has come too often on one link."""
    count_app_xid(node, fact, rules)
    count_contained(node, fact.finding, fact.finding.count)
    found, at = fact.finding, fact.happened
    if found.code != LINK_STRIKE:
        return fact
    node.link_errors = _struck(node.link_errors, at, place_of(found), rules.policy.correlate_s)
    times = [each for each, place in node.link_errors if place == place_of(found) and each > at - DAY_S]
    if len(times) < int(found.evidence.get("strikes", 2)):
        return fact
    said = f"{found.summary}, {len(times)} times within a day"
    return replace(fact, finding=replace(found, code=LINK_BROKEN, health=Health.CRITICAL, summary=said))


def count_app_xid(node: Node, fact: FindingReported, rules: Rules) -> None:
    """Count a fault of one of our programs."""
    found = fact.finding
    if is_ours(found) and any(book.cause == APP_XID for book in rules.by_code.get(found.code, ())):
        node.app_xids = _struck(node.app_xids, fact.happened, place_of(found), rules.policy.correlate_s)


def count_contained(node: Node, found: Finding, more: int) -> None:
    """Count contained memory errors: each line may be one."""
    if found.evidence.get("xid") == CONTAINED:
        node.contained[found.component] = node.contained.get(found.component, 0) + more


def _struck(
    strikes: list[tuple[Instant, str]], at: Instant, place: str, apart: float
) -> list[tuple[Instant, str]]:
    """Count one fault once at each place: the kernel writes several lines about it."""
    if any(where == place and abs(at - each) < apart for each, where in strikes):
        return strikes
    return [*strikes[1 - KEPT :], (at, place)]


def is_contained(node: Node, found: Finding) -> bool:
    """Say whether contained errors, which the kernel told of one by one, are all that a GPU has counted."""
    errors = found.evidence.get("ecc_uncorrectable")
    known = node.contained.get(found.component, 0)
    return found.code == COUNTER and isinstance(errors, int) and 0 < errors <= known
