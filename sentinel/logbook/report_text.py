"""A report in words: as Markdown, and as the few lines that are told in a channel."""

from collections.abc import Iterator

from sentinel.logbook.evictions import Verdict
from sentinel.logbook.markdown import template
from sentinel.logbook.statistics import Between, Rate, Report
from sentinel.model.counted import counted, duration
from sentinel.model.ids import HOUR_S, Seconds
from sentinel.model.judgement import SAID
from sentinel.redact import redact

MOST_CAUSES = 5
"""Causes that a short report names."""
WATCHED = 0.99
"""A short report says of less that nobody watched."""


def markdown(report: Report) -> str:
    """Write it all."""
    page = template("report.md.j2").render(
        report=report,
        headline=headline(report),
        right=judged(report, Verdict.RIGHT),
        wrong=judged(report, Verdict.WRONG),
        verdicts=SAID,
        rate=rate,
        between=between,
        percent=percent,
        exactly=exactly,
    )
    return redact("\n".join(_squeezed(page.splitlines()))).rstrip() + "\n"


def short(report: Report, url: str = "") -> str:
    """Write a few lines for a channel, the first of which says it all; `url` is where to read on."""
    first = redact(f"{report.cluster}, {report.begins} to {report.ends}: {headline(report)}")
    return "\n".join([first, details(report), *([url] if url else [])])


def details(report: Report) -> str:
    """Write the lines of a short report that follow the first."""
    lines = []
    if report.causes:
        named = [f"{each.cause} {each.count}" for each in report.causes[:MOST_CAUSES]]
        more = len(report.causes) - len(named)
        lines.append(f"Causes: {', '.join(named)}{f', {more} more' if more > 0 else ''}")
    for job in report.jobs:
        lost = ", ".join(f"{each.to} {duration(each.seconds)}" for each in job.lost[:MOST_CAUSES])
        lines.append(f"{job.job}: lost to {lost}" if lost else f"{job.job}: nothing was lost")
    if report.offenders:
        blamed = (f"{each.node} ({len(each.incidents)})" for each in report.offenders[:MOST_CAUSES])
        lines.append(f"Again and again: {', '.join(blamed)}")
    if report.evictions:
        right, wrong = judged(report, Verdict.RIGHT), judged(report, Verdict.WRONG)
        lines.append(f"Evictions: {len(report.evictions)}, {right} right, {wrong} wrong")
    lines.append(f"Pages: {report.pages.count}, {report.pages.at_night} at night")
    if report.watched < WATCHED:
        lines.append(f"For {percent(1.0 - report.watched)} of this time nobody watched")
    return redact("\n".join(lines))


def headline(report: Report) -> str:
    """Say in a sentence how it went."""
    trained = [
        f"{each.job} trained {percent(each.effective)} of the time"
        for each in report.jobs
        if each.effective is not None
    ]
    what = counted(report.total.count, "incident") if report.total.count else "no incident"
    lost = f", {report.total.gpu_hours_lost:.3g} GPU-hours lost" if report.total.gpu_hours_lost else ""
    return "; ".join([*trained, f"{what}{lost}"])


def judged(report: Report, verdict: Verdict) -> int:
    """Count the evictions of which that is known."""
    return sum(each.verdict is verdict for each in report.evictions)


def rate(each: Rate) -> str:
    """Write a rate with its interval: `12.3 (4.5 to 26.8)`."""
    if each.per_1000_gpu_days is None or each.low is None or each.high is None:
        return "no GPU was watched"
    return f"{_number(each.per_1000_gpu_days)} ({_number(each.low)} to {_number(each.high)})"


def between(each: Between) -> str:
    """Say how long it was between interruptions."""
    if each.hours is None:
        return f"Nothing interrupted it; it does so less than every {duration(each.low * HOUR_S)} (95%)."
    assert each.high is not None
    most = duration(each.high * HOUR_S)
    return (
        f"An interruption every {duration(each.hours * HOUR_S)} on average "
        f"({duration(each.low * HOUR_S)} to {most}, 95%), {each.interruptions} in all."
    )


def percent(share: float | None) -> str:
    """Write a share: `97.3%`."""
    return "-" if share is None else f"{100 * share:.1f}%"


def exactly(seconds: Seconds) -> str:
    """Write a duration, a short one to the hundredth of a second."""
    return f"{seconds:.2f} s" if seconds < 10 else duration(seconds)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _squeezed(lines: list[str]) -> Iterator[str]:
    """Leave one empty line of several."""
    before = ""
    for line in lines:
        if line or before:
            yield line
        before = line
