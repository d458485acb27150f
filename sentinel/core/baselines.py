"""What nodes of one kind usually measure, and how one node's figure stands beside that."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median

from sentinel.core.state.rows import Baseline, Measured
from sentinel.model.collective import Figure, Held, MemberFinding, Standing
from sentinel.model.counted import counted
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import Instant, NodeId
from sentinel.model.policy import Policy


def key(check: str, kind: str, what: str) -> str:
    """Name the baseline of a figure."""
    return f"{check}|{kind}|{what}"


def hold(
    baselines: Mapping[str, Baseline], check: str, figures: Sequence[Figure], now: Instant, policy: Policy
) -> tuple[Held, ...]:
    """Hold what was measured just now against what other nodes of the same kind had measured before.

    A node's own past does not count, so it can't lower what is asked of it.
    """
    together: dict[str, list[Figure]] = {}
    for figure in figures:
        together.setdefault(key(check, figure.kind, figure.what), []).append(figure)
    held = []
    for name, alike in together.items():
        known = baselines.get(name, Baseline())
        held += [_held(figure, known, _by_node(alike), now, policy) for figure in alike]
    return tuple(held)


def _by_node(figures: Iterable[Figure]) -> dict[NodeId, list[float]]:
    found: dict[NodeId, list[float]] = {}
    for figure in figures:
        found.setdefault(figure.node, []).append(figure.value)
    return found


def _held(
    figure: Figure, known: Baseline, now_too: Mapping[NodeId, list[float]], now: Instant, policy: Policy
) -> Held:
    others = [each for each in lasting(known, now, policy) if each.node != figure.node]
    alike = [each for each in others if each.under == figure.under]
    used = alike if is_enough(alike, policy) else others
    if not is_enough(used, policy):
        return Held(figure, Standing.UNKNOWN, nodes=len(others))
    usual, spread = middle(used)
    said = Held(figure, Standing.USUAL, usual, spread, len(used), known.was, known.changed)
    if not _is_behind(figure.value, usual, spread, policy):
        return said
    if used is not alike:
        standing = Standing.UNDER_ANOTHER
    elif _is_shared(figure.node, alike, now_too, (usual, spread), policy):
        standing = Standing.SHARED
    else:
        standing = Standing.BEHIND
    return Held(figure, standing, usual, spread, len(used), known.was, known.changed)


def lasting(known: Baseline, now: Instant, policy: Policy) -> list[Measured]:
    """Give what was measured lately enough to count."""
    return [each for each in known.measured if each.at > now - policy.fleet_s]


def is_enough(measured: Sequence[Measured], policy: Policy) -> bool:
    """Say whether so many nodes and devices say what is usual."""
    values = sum(len(each.values) for each in measured)
    return len(measured) >= policy.fleet_nodes and values >= policy.fleet_values


def middle(measured: Sequence[Measured]) -> tuple[float, float]:
    """Give the median over nodes, and the median absolute deviation of all their devices from it.

    Each node counts once, so that none of many devices weighs more; half of them could be bad.
    """
    usual = median(median(each.values) for each in measured)
    return usual, median(abs(value - usual) for each in measured for value in each.values)


def _is_behind(value: float, usual: float, spread: float, policy: Policy) -> bool:
    return usual - value > max(policy.fleet_mads * spread, policy.fleet_least * usual)


def _is_shared(
    node: NodeId,
    alike: Sequence[Measured],
    now_too: Mapping[NodeId, list[float]],
    beside: tuple[float, float],
    policy: Policy,
) -> bool:
    """Say whether others are behind, too: most of those that measured at once, or else each of the last ones.

    A node that was out of use then tells nothing of the fleet: it is measured because something is wrong.
    """
    values = [median(each) for name, each in now_too.items() if name != node]
    if len(values) >= policy.several:
        return 2 * sum(_is_behind(each, *beside, policy) for each in values) > len(values)
    in_use = [each for each in alike if not each.is_out and each.node not in now_too]
    values += [median(each.values) for each in reversed(in_use)]
    last = values[: policy.several]
    return len(last) == policy.several and all(_is_behind(each, *beside, policy) for each in last)


# --- in words --------------------------------------------------------------------------------------------


def found(check: str, code: str, held: Iterable[Held]) -> Iterator[MemberFinding]:
    """Give a finding for each component of which a figure is behind the fleet's, once, with all of them."""
    if not code:
        return
    behind: dict[tuple[NodeId, str], list[Held]] = {}
    for each in held:
        if each.standing is Standing.BEHIND:
            behind.setdefault((each.figure.node, each.figure.component), []).append(each)
    for (node, component), of in behind.items():
        evidence: dict[str, str | int | float] = {}
        for each in of:
            what = each.figure.what
            evidence |= {what: each.figure.value, f"fleet_{what}": each.usual, "fleet_nodes": each.nodes}
        said = f"{component} is slow: {'; '.join(map(beside, of))}"
        yield MemberFinding(node, Finding(check, code, component, Health.WARNING, said, evidence))


def beside(held: Held) -> str:
    """Say how a figure stands beside the fleet's."""
    figure = held.figure
    of = f"{figure.what} {figure.value:.4g}"
    if held.standing is Standing.UNKNOWN:
        return f"{of}: only {counted(held.nodes, 'other node')} of its kind known, so nothing is said"
    fleet = f"the fleet {held.usual:.4g} (MAD {held.spread:.2g}, {counted(held.nodes, 'node')})"
    return f"{of}, {fleet}{_ENDS[held.standing]}"


_ENDS: Mapping[Standing, str] = {
    Standing.USUAL: "",
    Standing.BEHIND: "",
    Standing.SHARED: ": the others that were measured lately are as slow, so it is not this node",
    Standing.UNDER_ANOTHER: ": too few others have its driver and libraries, which may be why",
}
