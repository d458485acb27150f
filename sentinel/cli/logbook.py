"""Commands that read the logbook's files: search them, and write them for other programs."""

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
    examples,
    say,
    say_json,
    settings,
    table,
)

if TYPE_CHECKING:
    from sentinel.logbook.row import Row

group = typer.Typer(cls=Group, help="The logbook: search it, export it.")
app.add_typer(group, name="logbook", rich_help_panel=INSPECT)

Words = Annotated[
    list[str] | None,
    typer.Argument(help="Words that all are in an entry, such as a GPU's serial; they may go on."),
]
OfNode = Annotated[str, typer.Option("--node", help="Blamed, or evicted.")]
OfCause = Annotated[str, typer.Option("--cause", help="A runbook's name.")]
OfJob = Annotated[str, typer.Option("--job", help="A job's name.")]
Since = Annotated[str, typer.Option(metavar="WHEN", help="Opened since: 30d ago, or a date in UTC.")]
Until = Annotated[str, typer.Option(metavar="WHEN", help="Opened before.")]


def _rows(words: list[str] | None, **filters: str) -> "list[Row]":
    """Search the logbook of the settings. Raises CommandError."""
    from sentinel.logbook.book import Logbook
    from sentinel.logbook.search import QueryError

    folder = settings().cluster.state_dir / "logbook"
    if not folder.is_dir():
        raise CommandError(f"{folder}: there is no logbook")
    given = {name: value.strip().replace(" ", "T") for name, value in filters.items() if value.strip()}
    asked = [*(words or ()), *(f"{name}:{value}" for name, value in given.items())]
    try:
        return Logbook(folder, read_only=True).search(" ".join(asked))
    except QueryError as error:
        raise CommandError(str(error), MISUSED) from None


@group.command(
    cls=Command,
    epilog=examples(
        "sentinel logbook search fallen off the bus",
        "sentinel logbook search 1650123456789 --since 90d",
        "sentinel logbook search --node n17 --cause gpu-lost",
    ),
)
def search(
    words: Words = None,
    node: OfNode = "",
    cause: OfCause = "",
    job: OfJob = "",
    since: Since = "",
    until: Until = "",
    json: Annotated[bool, typer.Option("--json", help="One object a line and incident.")] = False,
) -> None:
    """Find incidents by the words of their entries, newest first; exit 1 when there is none."""
    rows = _rows(words, node=node, cause=cause, job=job, since=since, until=until)
    if json:
        from sentinel.logbook.export import lines

        for line in lines(rows, "jsonl"):
            say_json(line)
    elif rows:
        from sentinel.logbook.markdown import utc

        table(
            "",
            [
                {"incident": row.incident, "opened": utc(row.opened), "what": row.title, "where": row.where}
                for row in rows
            ],
        )
    else:
        say("nothing was found")
    raise typer.Exit(0 if rows else 1)


@group.command(
    cls=Command,
    epilog=examples(
        "sentinel logbook export --form csv --to incidents.csv",
        "sentinel logbook export --since 90d | jq .cause",
    ),
)
def export(
    words: Words = None,
    form: Annotated[str, typer.Option(metavar="jsonl|csv", help="JSON Lines, or CSV.")] = "jsonl",
    to: Annotated[Path | None, typer.Option(help="A file; without: printed.")] = None,
    node: OfNode = "",
    cause: OfCause = "",
    job: OfJob = "",
    since: Since = "",
    until: Until = "",
) -> None:
    """Write a line for each incident, all or those that a search finds, for other programs."""
    from sentinel.logbook.export import FORMS, lines

    if form not in FORMS:
        raise CommandError(f"--form {form!r}: expected {' or '.join(FORMS)}", MISUSED)
    rows = _rows(words, node=node, cause=cause, job=job, since=since, until=until)
    if to is None:
        for line in lines(rows, form):
            (say if form == "csv" else say_json)(line)
        return
    to.write_text("".join(f"{line}\n" for line in lines(rows, form)), encoding="utf-8", errors="replace")
    say(f"written: {to} ({len(rows)} incidents)")
