"""Rendering of what the past adds up to: a report, and the history of a node or a cause."""

from collections.abc import Sequence

from sentinel.logbook import report_text
from sentinel.logbook.evictions import Eviction, Verdict
from sentinel.logbook.row import Row
from sentinel.logbook.statistics import Report
from sentinel.model.judgement import SAID
from sentinel.web.pages import rendered
from sentinel.web.view import NodeView

BAR = 120
"""Height of the tallest bar, in the chart's own units."""


def report_page(report: Report, since: str, until: str, zone: str) -> str:
    """Render a report, with the times that were asked for in its form."""
    most = max((day.incidents for day in report.days), default=0)
    return rendered(
        "report.html",
        report=report,
        words=report_text,
        right=report_text.judged(report, Verdict.RIGHT),
        wrong=report_text.judged(report, Verdict.WRONG),
        verdicts=SAID,
        bars=[(day, round(BAR * day.incidents / most) if most else 0) for day in report.days],
        most=most,
        tall=BAR,
        asked=(since, until, zone),
        refused="",
        here="report",
    )


def no_report_page(why: str, since: str, until: str, zone: str) -> str:
    """Render the form alone, and why there is nothing else."""
    return rendered("report.html", report=None, asked=(since, until, zone), refused=why, here="report")


def node_page(name: str, node: NodeView | None, rows: Sequence[Row], told: Sequence[Eviction]) -> str:
    """Render what is known of a node now, and its whole history."""
    return rendered("node.html", name=name, node=node, rows=rows, evictions=told, here="")


def cause_page(cause: str, rows: Sequence[Row]) -> str:
    """Render all incidents of a cause."""
    nodes = sorted({node for row in rows for node, _, _ in row.suspects if node})
    return rendered("cause.html", cause=cause, rows=rows, nodes=nodes, title=rows[0].title, here="")
