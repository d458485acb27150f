"""How what was measured stands beside the other nodes of its kind, in lines for a person."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentinel.model.collective import Held

NAMED = 3
"""So many figures of which nothing can be said are named; there are as many as devices."""


def lines(held: "Sequence[Held]") -> Iterator[str]:
    """Say which figures are far from the fleet's, how many are as others have them, and what nobody knows."""
    from sentinel.core.baselines import beside
    from sentinel.model.collective import Standing
    from sentinel.model.counted import counted

    by: dict[Standing, list[Held]] = defaultdict(list)
    for each in held:
        by[each.standing].append(each)
    for standing in (Standing.BEHIND, Standing.SHARED, Standing.UNDER_ANOTHER):
        for each in by[standing]:
            word = "behind the fleet" if standing is Standing.BEHIND else "beside the fleet"
            yield f"{word}: {each.figure.node} {each.figure.component}: {beside(each)}"
    if usual := by[Standing.USUAL]:
        fewest, most = (of(each.nodes for each in usual) for of in (min, max))
        nodes = counted(most, "other node") if fewest == most else f"{fewest} to {most} other nodes"
        yield f"as the fleet has it: {counted(len(usual), 'figure')}, of {nodes}"
    yield from dict.fromkeys(filter(None, map(_moved, held)))
    if unknown := by[Standing.UNKNOWN]:
        kinds = dict.fromkeys(f"{each.figure.kind} {each.figure.what}" for each in unknown)
        named = ", ".join(list(kinds)[:NAMED]) + (f" and {len(kinds) - NAMED} more" * (len(kinds) > NAMED))
        known = counted(max(each.nodes for each in unknown), "other node")
        yield f"not held against the fleet: too few have measured {named} ({known} so far)"


def _moved(held: "Held") -> str:
    """Say that the fleet as a whole has become slower or faster; empty where it has not."""
    from datetime import UTC, datetime

    if not held.was:
        return ""
    how, of = "slower" if held.usual < held.was else "faster", f"{held.figure.kind} {held.figure.what}"
    since = f"{datetime.fromtimestamp(held.changed, UTC):%Y-%m-%d}"
    return f"the fleet is {how} since {since}: {of} {held.usual:.4g}, {held.was:.4g} before"
