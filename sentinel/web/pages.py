"""Rendering: values to HTML, with our own templates, escaped, and nothing from elsewhere."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache

import jinja2
from markupsafe import Markup, escape

from sentinel.logbook.row import Row, reached
from sentinel.model.counted import duration
from sentinel.model.ids import Instant, Seconds
from sentinel.web.links import Links, level
from sentinel.web.markdown import to_html
from sentinel.web.ranges import natural, ranges
from sentinel.web.verdict import training, verdict
from sentinel.web.view import JobView, NodeView, SeatView, Status

SPARK_WIDTH, SPARK_HEIGHT = 240, 44
MOST_CHIPS = 24
"""Of more nodes a heat map shows all, and no card the healthy ones."""
_TYPED = re.compile(r"`([^`]{1,200})`")
_STAGE_TABLE = re.compile(r"^## Seconds to each stage\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)
"""Of an entry's file; its page draws it."""
ENTRY_CHARS = 256 * 1024
"""As much of an entry as is rendered, in half a second; the stacks of thousands of ranks are longer."""


def status_page(status: Status) -> str:
    """Render the whole status page."""
    return _page("status.html", status)


def status_fragment(status: Status) -> str:
    """Render only what changes, for the page's own refresh."""
    return _page("status_body.html", status)


def logbook_page(rows: Sequence[Row], query: str, found: int | None = None, wrong: str = "") -> str:
    """Render the logbook's table with its search box; `found` says how many rows there are beyond these.

    `wrong` says why the query makes no sense.
    """
    total = len(rows) if found is None else found
    page = _environment().get_template("logbook.html")
    return page.render(rows=rows, query=query, found=total, wrong=wrong, here="logbook")


def entry_page(incident: str, markdown: str, row: Row | None = None) -> str:
    """Render one logbook entry, with a line of its stages. HTML, links and images in it stay text."""
    stages = timeline(row.times, row.cause) if row else []
    body = to_html(_cut(_STAGE_TABLE.sub("", markdown, count=1) if stages else markdown))
    page = _environment().get_template("entry.html")
    nodes = sorted({node for node, _, _ in row.suspects if node}.union(row.evicted)) if row else []
    return page.render(
        incident=incident,
        body=body,
        stages=stages,
        nodes=nodes[:MOST_CHIPS],
        cause=row.cause if row else "",
        here="logbook",
    )


def timeline(times: Mapping[str, Seconds], cause: str) -> list[tuple[str, Seconds]]:
    """Give the stages that an incident came to, in the order in which it did; none for fewer than two."""
    stages = sorted(reached(times, cause), key=lambda stage: stage[1])
    return stages if len(stages) > 1 else []


def _cut(markdown: str) -> str:
    if len(markdown) <= ENTRY_CHARS:
        return markdown
    head, _, _ = markdown[:ENTRY_CHARS].rpartition("\n")
    note = (
        f"{len(markdown) - len(head):,} of {len(markdown):,} characters are left out here; the file has them"
    )
    return f"**{note}.**\n\n{head}"


def network_page(links: Links) -> str:
    """Render how fast nodes reach each other."""
    return rendered("network.html", links=links, slow=links.slow(), here="network")


def missing_page(what: str) -> str:
    """Render the page for an address that has nothing."""
    return _environment().get_template("missing.html").render(what=what, here="")


def rendered(template: str, **values: object) -> str:
    """Render one of our templates; every text in it is escaped."""
    return _environment().get_template(template).render(**values)


def _page(template: str, status: Status) -> str:
    troubled, quiet = split(status.nodes)
    heat = len(status.nodes) > MOST_CHIPS
    return (
        _environment()
        .get_template(template)
        .render(
            status=status,
            verdict=verdict(status),
            troubled=troubled,
            quiet=quiet,
            heat=heat,
            nodes=sorted(status.nodes, key=lambda node: natural(node.node)) if heat else (),
            ranks=_ranks_by_node(status.jobs),
            here="status",
        )
    )


def split(nodes: Iterable[NodeView]) -> tuple[list[NodeView], list[NodeView]]:
    """Part the nodes that need a look from the quiet ones, each in order of name."""
    ordered = sorted(nodes, key=lambda node: natural(node.node))
    troubled, quiet = list[NodeView](), list[NodeView]()
    for node in ordered:
        (troubled if node.needs_a_look else quiet).append(node)
    return troubled, quiet


def spark(losses: Sequence[tuple[int, float]]) -> str:
    """Give the points of a polyline through the finite losses; empty for fewer than two."""
    finite = [(step, loss) for step, loss in losses if math.isfinite(loss)]
    if len(finite) < 2:
        return ""
    steps, values = [step for step, _ in finite], [loss for _, loss in finite]
    across, up = (steps[-1] - steps[0]) or 1, (max(values) - min(values)) or 1.0
    points = (
        (
            (step - steps[0]) / across * SPARK_WIDTH,
            2 + (max(values) - loss) / up * (SPARK_HEIGHT - 4),
        )
        for step, loss in finite
    )
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _after(seconds: Seconds) -> str:
    return f"+{seconds:.2f} s" if seconds < 10 else f"+{duration(seconds)}"


def _clock(at: Instant) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def _date(at: Instant) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _last_loss(job: JobView) -> float | None:
    return job.losses[-1][1] if job.losses else None


def _ranks_by_node(jobs: Iterable[JobView]) -> dict[str, str]:
    seats: dict[str, list[SeatView]] = {}
    for job in jobs:
        for seat in job.seats:
            seats.setdefault(seat.node, []).append(seat)
    return {
        node: f"{'rank' if len(found) == 1 else 'ranks'} {ranges(seat.rank for seat in found)}"
        for node, found in seats.items()
    }


def _code(text: str) -> Markup:
    """Set what stands between backticks as what is typed; all else stays text."""
    return Markup(_TYPED.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - it is escaped


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sentinel.web"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "duration": duration,
        "after": _after,
        "level": level,
        "clock": _clock,
        "date": _date,
        "spark": spark,
        "code": _code,
    }
    environment.globals |= {
        "training": training,
        "last_loss": _last_loss,
        "spark_size": (SPARK_WIDTH, SPARK_HEIGHT),
    }
    return environment
