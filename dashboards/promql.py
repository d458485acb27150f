"""Queries in a few words: what every one of them matches stands here once, so that no panel forgets it."""

PREFIX = "sentinel_"
STANDING = ('cluster="$cluster"', 'job=~"$job"', 'instance=~"$instance"')
"""Which cluster, and which of Prometheus' jobs and targets: the variables at the top of each dashboard."""
RUN = 'job_name=~"$run"'
"""Which training job; `job` is Prometheus' own."""
NODE = 'node=~"$node"'
OVER_RANGE = "[$__range]"


def of(name: str, *matchers: str) -> str:
    """Give the selector of one of Sentinel's metrics, named without its prefix."""
    return f"{PREFIX}{name}{{{', '.join((*STANDING, *matchers))}}}"


def rate(name: str, *matchers: str) -> str:
    """Give a counter's rate per second."""
    return f"rate({of(name, *matchers)}[$__rate_interval])"


def increase(name: str, *matchers: str) -> str:
    """Give by how much a counter grew between two points of the graph."""
    return f"increase({of(name, *matchers)}[$__rate_interval])"


def over_range(name: str, *matchers: str) -> str:
    """Give by how much a counter grew in the whole time that is shown."""
    return f"increase({of(name, *matchers)}{OVER_RANGE})"


def total(expression: str, *by: str) -> str:
    """Sum, by some labels or altogether."""
    return _aggregate("sum", expression, by)


def worst(expression: str, *by: str) -> str:
    """Give the largest, by some labels or of all."""
    return _aggregate("max", expression, by)


def mirrored(expression: str, one: str, other: str) -> str:
    """Give series of pairs both ways round: what is told of a and b, of b and a, too."""
    kept = f'label_replace({expression}, "was", "$1", "{one}", "(.*)")'
    turned = f'label_replace({kept}, "{one}", "$1", "{other}", "(.*)")'
    swapped = f'label_replace({turned}, "{other}", "$1", "was", "(.*)")'
    return f"max by ({one}, {other}) ({expression} or {swapped})"


def quantile(q: float, name: str, *by: str) -> str:
    """Give a quantile of a classic histogram over the whole time that is shown."""
    buckets = total(over_range(f"{name}_bucket"), "le", *by)
    return f"histogram_quantile({q}, {buckets})"


def _aggregate(how: str, expression: str, by: tuple[str, ...]) -> str:
    return f"{how} by ({', '.join(by)}) ({expression})" if by else f"{how}({expression})"
