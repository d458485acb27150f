"""Whether it trains, how fast, and what was lost."""

from sentinel.dashboards.board import NODE_BOARD, RUNBOOK, board, row, runs
from sentinel.dashboards.look import YES_IS_BAD, YES_IS_GOOD, Limits
from sentinel.dashboards.panels import bars, history, lines, number
from sentinel.dashboards.promql import RUN, increase, of, over_range, rate, total, worst
from sentinel.dashboards.words import HEALTH
from sentinel.model.policy import Policy
from sentinel.phases import PHASES

POLICY = Policy()


def _of_job(name: str) -> str:
    return of(f"job_{name}", RUN)


def _in_phase(what: str, time: str) -> str:
    return total(f"{what}_over_time({_of_job('ranks_in_phase')}[{time}])", "phase")


def _share(name: str) -> str:
    spent, elapsed = (rate(f"job_{each}_seconds_total", RUN) for each in (name, "elapsed"))
    return f"sum({spent}) / sum({elapsed})"


STALL = f"clamp_min({POLICY.stall_factor} * {_of_job('step_duration_seconds')}, {POLICY.stall_s})"
MEDIAN = 'stat="median"'
OUTSIDE = "job_step_outside_collectives_seconds"
ITS_NODES = f"on (node) {worst(of('rank_step', RUN), 'node')}"
TRAINED, ELAPSED = (over_range(f"job_{name}_seconds_total", RUN) for name in ("training", "elapsed"))

BOARD = board(
    "run",
    "Run",
    __doc__,
    number(
        "Training",
        "Whether every chosen job trains now. No: it forms, waits for nodes, or was stopped.",
        "none",
        f"min({_of_job('running')})",
        words=YES_IS_GOOD,
        width=3,
    ),
    number(
        "Stalled",
        "Whether the last new step is longer ago than the policy allows: stall_factor median steps, but at "
        "least stall_s.",
        "none",
        f"max({_of_job('step_age_seconds')} > bool {STALL})",
        words=YES_IS_BAD,
        width=3,
    ),
    number(
        "Ranks missing",
        "World size asked for, less the ranks that are seated.",
        "short",
        f"sum({_of_job('ranks_wanted')} - {_of_job('ranks')})",
        limits=Limits(notice=1),
        width=3,
    ),
    number("Step", "Last step that all ranks completed.", "none", worst(_of_job("step")), width=3),
    number("Median step", "Median of the last steps.", "s", worst(_of_job("step_duration_seconds")), width=3),
    number(
        "Tokens",
        "Tokens trained on in a second.",
        "short",
        total(_of_job("tokens_per_second")),
        width=3,
        none="job.tokens_per_step is not set",
    ),
    number(
        "MFU",
        "Share of the ranks' peak arithmetic that the model needs.",
        "percentunit",
        worst(_of_job("model_flops_utilisation_ratio")),
        width=3,
        none="job.flops_per_step is not set",
    ),
    number(
        "Effective training time",
        "Share of the time shown that went into new steps.",
        "percentunit",
        f"sum({TRAINED}) / sum({ELAPSED})",
        width=3,
    ),
    row("How fast"),
    lines("Loss", "Global mean loss of the last step.", "none", {"{{job_name}}": _of_job("loss")}),
    lines(
        "Step time",
        "Median of the last steps, and how long ago the last new step is. A stall is dashed by its queries' "
        "own limit, which grows with the step.",
        "s",
        {
            "median of {{job_name}}": _of_job("step_duration_seconds"),
            "since the last": _of_job("step_age_seconds"),
            "a stall": STALL,
        },
        bounds=("a stall",),
    ),
    lines(
        "What ranks do",
        "Ranks by their phase: over time, how a step is split.",
        "short",
        {"{{phase}}": f"{_in_phase('avg', '$__rate_interval')} and {_in_phase('max', '$__range')} > 0"},
        stacked=True,
        names=PHASES,
    ),
    lines(
        "Outside collectives",
        "Seconds of the last step that the fastest, the median and the slowest rank spent on its own; "
        "a straggler is at straggler_factor times the median.",
        "s",
        {
            "{{stat}}": total(of(OUTSIDE, RUN), "stat"),
            "a straggler": f"{POLICY.straggler_factor} * {total(of(OUTSIDE, RUN, MEDIAN))}",
        },
        bounds=("a straggler",),
        names=("median", "min", "max"),
    ),
    row("What was lost"),
    bars(
        "Time lost, by cause",
        "Time without a new step in the time shown: `start` is before the first one, `waiting` for nodes.",
        "s",
        {"{{cause}}": f"sort_desc({total(over_range('job_lost_seconds_total', RUN), 'cause')} > 0)"},
        links=RUNBOOK,
    ),
    lines(
        "Goodput and effective training time",
        "Shares of all time: in new steps, and in new steps at their usual pace; now, and since this "
        "controller took over.",
        "percentunit",
        {
            "effective training time": _share("training"),
            "goodput": _share("productive"),
            "effective training time so far": _of_job("effective_training_time_ratio"),
            "goodput so far": _of_job("goodput_ratio"),
        },
    ),
    lines(
        "Steps",
        "Steps that were new, and those that were trained again after a break.",
        "short",
        {
            "new": total(increase("job_new_steps_total", RUN)),
            "again": total(increase("job_repeated_steps_total", RUN)),
        },
    ),
    lines(
        "What a break would cost",
        "How much training the newest memory snapshot and the newest checkpoint lack.",
        "s",
        {"snapshot": _of_job("snapshot_age_seconds"), "checkpoint": _of_job("checkpoint_age_seconds")},
    ),
    row("Health and use of its nodes"),
    history(
        "Nodes that are not well",
        "The worst finding of each node on which the chosen jobs have ranks.",
        {"{{node}}": f"max by (node) ({of('node_health')}) and {ITS_NODES}"},
        words=HEALTH,
        width=12,
        links=NODE_BOARD,
    ),
    lines(
        "GPUs at work",
        "Share of time in which a kernel ran: the mean, and the least busy GPU, of these nodes.",
        "percentunit",
        {
            "mean": f"avg({of('gpu_utilisation_ratio')} and {ITS_NODES})",
            "least": f"min({of('gpu_utilisation_ratio')} and {ITS_NODES})",
        },
    ),
    row("The gang"),
    number(
        "Warm standbys",
        "Processes that wait to take a rank's place.",
        "short",
        total(_of_job("standbys")),
        limits=Limits(notice=1, low=True),
        width=6,
    ),
    number(
        "Formed",
        "How often the gang was formed in the time shown.",
        "short",
        f"sum(changes({_of_job('generation')}[$__range]))",
        width=6,
    ),
    number(
        "Ranks heard",
        "Ranks whose heartbeat came within 10 s, of all that are seated.",
        "percentunit",
        f"sum({_of_job('ranks_heard')}) / sum({_of_job('ranks')})",
        limits=Limits(bad=1, low=True),
        width=6,
    ),
    number(
        "Last heartbeat",
        "Since any of its ranks was heard.",
        "s",
        worst(_of_job("heartbeat_age_seconds")),
        limits=Limits(bad=POLICY.silent_s),
        width=6,
    ),
    choose=(runs(),),
)
