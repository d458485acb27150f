"""Whether the watcher itself is well."""

from sentinel.dashboards.board import board, row
from sentinel.dashboards.look import YES_IS_BAD, YES_IS_GOOD, YES_IS_NOTED, Limits
from sentinel.dashboards.panels import bars, lines, listing, number
from sentinel.dashboards.promql import increase, of, over_range, rate, total, worst
from sentinel.dashboards.words import FACTS

STARTED = of("controller_start_time_seconds")
FOLD, COMMIT = "fold_seconds", "journal_commit_seconds"


def _slowest(q: float, name: str) -> str:
    return f"histogram_quantile({q}, {total(rate(f'{name}_bucket'), 'le')})"


BOARD = board(
    "watcher",
    "Sentinel",
    __doc__,
    number(
        "Controller up for",
        "Since this controller took over.",
        "s",
        f"time() - max({STARTED})",
        width=3,
        none="down",
    ),
    number(
        "Frozen",
        "Yes: it takes no action by itself, and a page says why.",
        "none",
        worst(of("actions_frozen")),
        words=YES_IS_BAD,
        width=3,
    ),
    number(
        "Stopped",
        "Yes: an operator has stopped all actions.",
        "none",
        worst(of("actions_stopped")),
        words=YES_IS_NOTED,
        width=3,
    ),
    number(
        "Observes only",
        "Yes: it pages, and does nothing else (policy.observe_only).",
        "none",
        worst(of("observe_only")),
        words=YES_IS_NOTED,
        width=3,
    ),
    number(
        "Journal fails",
        "Yes: what is decided can't be kept, so nothing is done.",
        "none",
        worst(of("journal_failing")),
        words=YES_IS_BAD,
        width=3,
    ),
    number(
        "Ray answers",
        "Needed for each start and eviction of a rank.",
        "none",
        f"min({of('ray_up')})",
        words=YES_IS_GOOD,
        width=3,
    ),
    number(
        "Agents cut off",
        "Agents that Prometheus reaches and that have no controller.",
        "short",
        f"sum({of('agent_connected')} == bool 0)",
        limits=Limits(bad=1),
        width=3,
    ),
    number(
        "Pages not shown",
        "Pages that a receiver has not got yet.",
        "short",
        total(of("receiver_undelivered_pages")),
        limits=Limits(notice=1),
        width=3,
    ),
    row("Pages"),
    bars(
        "Waiting, by receiver",
        "Pages that it has not shown.",
        "short",
        {"{{receiver}}": worst(of("receiver_undelivered_pages"), "receiver")},
        limits=Limits(notice=1),
        width=8,
    ),
    listing(
        "Receivers",
        "Whether the first channel of each fails.",
        "none",
        worst(of("receiver_failing"), "receiver"),
        {"receiver": "Receiver", "Value": "Fails"},
        words=YES_IS_BAD,
        width=8,
    ),
    lines(
        "Revisions of pages",
        "What became of them, by receiver.",
        "short",
        {"{{receiver}}: {{result}}": total(increase("receiver_pages_total"), "receiver", "result")},
        width=8,
    ),
    bars(
        "Slack's buttons",
        "How they are: `refused` needs a person, `off` has no app-level token. Pages go out all the same.",
        "none",
        {"{{state}}": f"{worst(of('slack_buttons'), 'state')} > 0"},
    ),
    bars(
        "Presses in Slack",
        "In the time shown, by what became of them.",
        "short",
        {"{{result}}": f"{total(over_range('slack_presses_total'), 'result')} > 0"},
        none="none",
    ),
    row("Decisions"),
    lines(
        "Time to decide",
        "On facts that came at once: the median, and what 99 of 100 take no longer than.",
        "s",
        {"median": _slowest(0.5, FOLD), "99 of 100": _slowest(0.99, FOLD)},
        width=8,
    ),
    lines(
        "Time to write the journal",
        "To its disk.",
        "s",
        {"median": _slowest(0.5, COMMIT), "99 of 100": _slowest(0.99, COMMIT)},
        width=8,
    ),
    lines(
        "Facts that wait for the journal",
        "They grow when its disk is slow.",
        "short",
        {"facts": worst(of("journal_uncommitted_facts"))},
        width=8,
    ),
    lines(
        "Lines of the journal",
        "Written a second.",
        "wps",
        {"lines": total(rate("journal_lines_total"))},
        width=8,
    ),
    lines(
        "Size of the journal", "Of its file.", "bytes", {"journal": worst(of("journal_size_bytes"))}, width=8
    ),
    lines(
        "Facts",
        "By kind, a second.",
        "cps",
        {"{{kind}}": f"{total(rate('facts_total'), 'kind')} > 0"},
        stacked=True,
        names=FACTS,
        width=8,
    ),
    row("Agents"),
    lines(
        "Reports",
        "That agents sent, a second.",
        "cps",
        {"reports": total(rate("agent_reports_total"))},
        width=8,
    ),
    lines(
        "Events that wait",
        "Those that the controller has not acknowledged, of the worst agents.",
        "short",
        {"{{node}}": f"topk(5, {of('agent_events_pending')})"},
        width=8,
    ),
    lines(
        "Events",
        "Taken into the spool, and lost because it was full.",
        "short",
        {
            "taken": total(increase("agent_events_total")),
            "lost": total(increase("agent_events_dropped_total")),
        },
        width=8,
    ),
    bars(
        "Slowest checks",
        "How long each took when it last ran, on the slowest node.",
        "s",
        {"{{check}}": f"topk(10, {worst(of('check_duration_seconds'), 'check')})"},
        width=8,
    ),
    bars(
        "Probes that failed",
        "That hung, died or raised in the time shown.",
        "short",
        {"{{check}}": f"{total(over_range('probes_failed_total'), 'check')} > 0"},
        width=8,
        none="none",
    ),
    lines(
        "Could not be read",
        "Reports and events of agents, as of a newer release.",
        "short",
        {
            "reports": total(increase("reports_refused_total")),
            "events": total(increase("events_refused_total")),
        },
        width=8,
    ),
    row("What it costs"),
    lines(
        "Processor",
        "Cores that controller and agents use, the largest five.",
        "short",
        {"{{instance}}": f"topk(5, {rate('process_cpu_seconds_total')})"},
        width=8,
    ),
    lines(
        "Memory",
        "Resident, of the largest five.",
        "bytes",
        {"{{instance}}": f"topk(5, {of('process_resident_memory_bytes')})"},
        width=8,
    ),
    lines(
        "Open files",
        "Share of what each process may have, of the largest five.",
        "percentunit",
        {"{{instance}}": f"topk(5, {of('process_open_fds')} / {of('process_max_fds')})"},
        width=8,
    ),
    listing(
        "Release", "Of the controller.", "none", of("controller_info"), {"version": "Release", "url": "Pages"}
    ),
)
