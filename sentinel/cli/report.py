"""Commands about the past: what it adds up to, what to tell a provider, where it was written."""

import json as codec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sentinel.cli.frame import (
    INSPECT,
    MISUSED,
    Command,
    CommandError,
    Group,
    app,
    ask,
    examples,
    say,
    say_json,
    settings,
)

if TYPE_CHECKING:
    from sentinel.logbook.window import Window

group = typer.Typer(cls=Group, invoke_without_command=True, help="What the past adds up to.")
app.add_typer(group, name="report", rich_help_panel=INSPECT)

Since = Annotated[
    str, typer.Option(metavar="WHEN", help="7d or 4w ago, a date, or '2026-12-24 14:30'; without: 7d.")
]
Until = Annotated[str, typer.Option(metavar="WHEN", help="The same, as the end; without: now.")]
Zone = Annotated[str, typer.Option(metavar="NAME", help="Where days and nights are; without: here.")]
Journal = Annotated[
    Path | None, typer.Option(help="A journal.db that is counted instead of the logbook; a running one, too.")
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]


def window_of(since: str, until: str, zone: str, *, weekly: bool = False, default: str = "7d") -> "Window":
    """Read what the options say. Raises CommandError."""
    import time

    from sentinel.logbook.window import Window, WindowError, last_week, moment, zone_of

    now, option = time.time(), "--zone"
    try:
        place = zone_of(zone)
        if weekly:
            return last_week(now, place)
        option = f"--since {since!r}"
        begin = moment(since or default, now, place)
        option = f"--until {until!r}"
        end = moment(until or "now", now, place)
        option = "--since, --until"
        return Window(begin, end, place)
    except WindowError as error:
        raise CommandError(f"{option}: {error}", MISUSED) from None


@group.callback(
    epilog=examples(
        "sentinel report --weekly",
        "sentinel report --since 30d --json",
        "sentinel report --since 2026-11-01 --until 2026-12-01 --zone Europe/Zurich",
        "sentinel report node n17 --tar n17.tar.gz",
    )
)
def report(
    ctx: typer.Context,
    weekly: Annotated[
        bool, typer.Option("--weekly", help="The last whole week, from Monday to Monday.")
    ] = False,
    since: Since = "",
    until: Until = "",
    zone: Zone = "",
    journal: Journal = None,
    json: AsJson = False,
    short: Annotated[bool, typer.Option("--short", help="The few lines that are told in a channel.")] = False,
) -> None:
    """Say what failed and how often, where training time went, how long repair took, and who was woken."""
    if ctx.invoked_subcommand is not None:
        return
    if weekly and (since or until):
        raise CommandError("--weekly is a time of its own: leave out --since and --until", MISUSED)
    if json and short:
        raise CommandError("--json and --short: choose one", MISUSED)
    window = window_of(since, until, zone, weekly=weekly)
    from sentinel.logbook import report_text, statistics
    from sentinel.model.codec import to_plain
    from sentinel.runtime import reports

    asked = settings()
    past = reports.past(asked.cluster.state_dir, journal, asked.policy)
    found = statistics.report(past.rows, past.entries, window, asked.cluster.name)
    if json:
        say_json(codec.dumps(to_plain(found)))
    else:
        say(report_text.short(found) if short else report_text.markdown(found).rstrip())


@group.command(
    cls=Command,
    epilog=examples("sentinel report node n17", "sentinel report node n17 --since 90d --tar n17.tar.gz"),
)
def node(
    name: Annotated[str, typer.Argument(help="Name of a node, also of one that is not here any more.")],
    since: Annotated[str, typer.Option(metavar="WHEN", help="As of `sentinel report`; without: all.")] = "",
    until: Until = "",
    zone: Zone = "",
    journal: Journal = None,
    tar: Annotated[
        Path | None, typer.Option(help="Write an archive, with the raw evidence; .gz packs it.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Write what a node's provider has to know: which machine, what it did, its tests, and what is asked.

    Secrets, other nodes, jobs and processes are hidden. Where its agent answers, it names its GPUs.
    """
    window = window_of(since, until, zone, default="20y")
    from sentinel.logbook import ticket
    from sentinel.model.codec import to_plain
    from sentinel.runtime import reports, tickets

    asked = settings()
    past = reports.past(asked.cluster.state_dir, journal, asked.policy)
    agent = "" if journal is not None else _agent_of(name)
    found = tickets.made(past, name, window, asked.cluster.state_dir, journal, agent)
    if tar is not None:
        tickets.archive(found, tar)
        say(f"written: {tar}")
    elif json:
        say_json(codec.dumps(to_plain(found)))
    else:
        say(ticket.markdown(found).rstrip())


def _agent_of(name: str) -> str:
    """Give where a node's agent serves its metrics; nothing where no controller can say."""
    try:
        nodes = ask("GET", "status")["nodes"]
    except CommandError:
        return ""
    return next((str(each["metrics"]) for each in nodes if each["node"] == name), "")
