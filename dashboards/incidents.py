"""What broke, how fast it was repaired, what it cost, and who was woken."""

from sentinel.dashboards.board import ENTRY, RUNBOOK, board, row, runs
from sentinel.dashboards.look import Limits
from sentinel.dashboards.panels import bars, lines, listing, number
from sentinel.dashboards.promql import RUN, increase, of, over_range, quantile, total, worst
from sentinel.dashboards.words import CAUSES

STAGES = "incident_stage_seconds"
LOST = f"sum by (job_name, cause) ({over_range('job_lost_seconds_total', RUN)})"
DELIVERED = of("pages_total", 'result="delivered"')
SIZE = f"max by (job_name) ({of('job_ranks_wanted', RUN)})"

BOARD = board(
    "incidents",
    "Incidents",
    __doc__,
    number(
        "Open",
        "Incidents that are not resolved.",
        "short",
        total(of("open_incidents")),
        limits=Limits(notice=1),
    ),
    number(
        "Critical",
        "Of these, the critical ones.",
        "short",
        total(of("open_incidents", 'severity="critical"')),
        limits=Limits(bad=1),
    ),
    number(
        "Left for people",
        "What is left for people to do: the status page lists it.",
        "short",
        worst(of("left_for_people")),
        limits=Limits(notice=1),
    ),
    number(
        "In the time shown",
        "Incidents that were opened.",
        "short",
        total(over_range("incidents_opened_total")),
    ),
    number(
        "Evictions",
        "Nodes that were taken away in the time shown.",
        "short",
        total(over_range("evictions_total")),
    ),
    number(
        "GPU-hours lost",
        "Time without a new step in the time shown, times the ranks of the job.",
        "h",
        f"sum({LOST} * on (job_name) group_left () {SIZE}) / 3600",
    ),
    row("Open now"),
    listing(
        "Open incidents",
        "A click leads to logbook entry and runbook.",
        "none",
        of("incident_info"),
        {"incident": "Incident", "cause": "Cause", "node": "Node", "severity": "Severity", "stage": "Stage"},
        width=24,
        height=6,
        links=ENTRY,
        none="none",
    ),
    row("What broke"),
    bars(
        "By cause",
        "Incidents in the time shown, by their first cause.",
        "short",
        {"{{cause}}": f"sort_desc({total(over_range('incidents_diagnosed_total'), 'cause')} > 0)"},
        links=RUNBOOK,
        none="none",
    ),
    bars(
        "GPU-hours lost, by cause",
        "Time without a new step in the time shown, times the ranks of the job.",
        "h",
        {"{{cause}}": f"sort_desc(sum by (cause) ({LOST} * on (job_name) group_left () {SIZE}) / 3600 > 0)"},
        links=RUNBOOK,
        none="none",
    ),
    lines(
        "Opened",
        "Incidents over time, by cause.",
        "short",
        {"{{cause}}": f"{total(increase('incidents_diagnosed_total'), 'cause')} > 0"},
        stacked=True,
        names=CAUSES,
        width=24,
    ),
    row("How fast"),
    bars(
        "Time to each stage, median",
        "Since an incident was opened.",
        "s",
        {"{{stage}}": f"sort({quantile(0.5, STAGES, 'stage')})"},
        none="none in this time",
    ),
    bars(
        "Time to each stage, 95 of 100",
        "So many took no longer.",
        "s",
        {"{{stage}}": f"sort({quantile(0.95, STAGES, 'stage')})"},
        none="none in this time",
    ),
    row("What was done, and not"),
    bars(
        "Refused",
        "Actions that a guard held back in the time shown, by the guard.",
        "short",
        {"{{guard}}": f"{total(over_range('refusals_total'), 'guard')} > 0"},
        width=8,
        none="none",
    ),
    bars(
        "Decided",
        "Actions in the time shown.",
        "short",
        {"{{kind}}": f"sort_desc({total(over_range('actions_total'), 'kind')} > 0)"},
        width=8,
        none="none",
    ),
    bars(
        "Failed",
        "Actions whose outcome was a failure.",
        "short",
        {"{{kind}}": f"{total(over_range('actions_failed_total'), 'kind')} > 0"},
        width=8,
        none="none",
    ),
    bars(
        "Incidents judged by people",
        "What they said in the time shown, with a button in Slack or `sentinel judge`.",
        "short",
        {"{{judgement}}": f"{total(over_range('incidents_judged_total'), 'judgement')} > 0"},
        none="none",
    ),
    bars(
        "Evictions judged by people",
        "Evictions of these incidents: `not-node` are those that should not have been.",
        "short",
        {"{{judgement}}": f"{total(over_range('evictions_judged_total'), 'judgement')} > 0"},
        none="none",
    ),
    lines(
        "Pages a day",
        "Pages that arrived in the 24 hours before.",
        "short",
        {
            "pages": total(f"increase({DELIVERED}[1d])"),
            "evictions": total(f"increase({of('evictions_total')}[1d])"),
        },
        width=24,
    ),
    choose=(runs(),),
)
