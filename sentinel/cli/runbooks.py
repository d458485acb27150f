"""Commands about runbooks: draft one from an incident, check one, and have it decide or not."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentinel.cli.frame import (
    FAILED,
    INSPECT,
    AsJson,
    Command,
    CommandError,
    Group,
    app,
    examples,
    say,
    say_document,
    settings,
    table,
)

if TYPE_CHECKING:
    from sentinel.drafting.library import Case
    from sentinel.drafting.score import Renamed

group = typer.Typer(cls=Group, help="Runbooks: list, check, score, enable, disable.")
app.add_typer(group, name="runbook", rich_help_panel=INSPECT)
APPLY = "in effect from the controller's next start on: `sentinel up --apply`, or restart its unit"
Name = Annotated[str, typer.Argument(help="A cause, as `sentinel runbook list` shows it.")]
Files = Annotated[list[Path], typer.Argument(help="Files of runbooks, `<cause>.md`.")]


@app.command(
    rich_help_panel=INSPECT,
    epilog=examples(
        "sentinel learn I-0042", 'sentinel learn I-0042 --cause gsp-hang --title "A GPU\'s processor hangs"'
    ),
)
def learn(
    incident: Annotated[str, typer.Argument(help="Such as I-0042: unknown, or not what it was taken for.")],
    cause: Annotated[str, typer.Option(help="Name of the new cause; without: by what it is known.")] = "",
    title: Annotated[str, typer.Option(help="What it is, for people; without: the decisive line.")] = "",
    json: AsJson = False,
) -> None:
    """Draft a runbook from an incident: what sets it apart from all others, and whom else it would rename.

    The draft decides nothing until `sentinel runbook enable`. Exit code 1 also if it renames some wrongly.
    """
    from sentinel.drafting.learn import find
    from sentinel.drafting.learn import learn as work

    given = settings()
    with _patience():
        own, books, every = _logbook()
        learned = work(every, find(every, incident), given.policy, books, own, cause, title)
    if json:
        shown = {"file": str(learned.file), "cause": learned.book.cause, "matches": learned.trait.what}
        say_document({**shown, **_plain(learned.renamed, every)})
    else:
        say(f"drafted: {learned.file}")
        alike = f", and {', '.join(learned.trait.alike)}" if learned.trait.alike else ""
        say(f"what sets {incident}{alike} apart: {learned.trait.what}")
        say(f"in the words of the incident: {learned.trait.seen.text}")
        _show(learned.renamed, every)
        say("it decides nothing yet: see to its prose and its remedy, then")
        say(f"`sentinel runbook score {learned.file}` and `sentinel runbook enable {learned.book.cause}`")
    raise typer.Exit(FAILED if learned.wrongly else 0)


@group.command(cls=Command, epilog=examples("sentinel runbook score drafts/gsp-hang.md"))
def score(
    file: Annotated[Path, typer.Argument(help="A runbook, `<cause>.md`, enabled or not.")],
    json: AsJson = False,
) -> None:
    """Say which incidents of the logbook a runbook would rename; exit 1 if it would some wrongly."""
    from sentinel.drafting.score import Judged
    from sentinel.drafting.score import score as work
    from sentinel.runbooks import read_beside, there

    book = read_beside(there(settings().cluster.runbooks_dir), file)
    with _patience():
        _, books, every = _logbook()
        others = {name: each for name, each in books.items() if name != book.cause}
        renamed = list(work(book, every, others))
    if json:
        say_document({"cause": book.cause, **_plain(renamed, every)})
    else:
        _show(renamed, every)
    raise typer.Exit(FAILED if any(each.judged is Judged.WRONGLY for each in renamed) else 0)


@group.command(cls=Command, epilog=examples("sentinel runbook check runbooks/gsp-hang.md"))
def check(files: Files, json: AsJson = False) -> None:
    """See that runbooks can be enabled; what is wrong is one line with file and key, exit 2."""
    from sentinel.runbooks import read_beside, there

    shelf = there(settings().cluster.runbooks_dir)
    for file in files:
        book = read_beside(shelf, file)
        if json:
            say_document({"file": str(file), "cause": book.cause, "title": book.title})
        else:
            says = f"blames {book.blames.value}, remedy {book.remedy.value}, confidence {book.confidence:g}"
            say(f"{file}: {book.cause}: {book.title} ({says})")


@group.command(name="list", cls=Command, epilog=examples("sentinel runbook list"))
def list_(json: AsJson = False) -> None:
    """List all runbooks: those of this release, the cluster's own that are enabled, and drafts."""
    from sentinel.runbooks.own import BUNDLED, listed

    known = list(listed(settings().cluster.runbooks_dir))
    if json:
        say_document([{**each._asdict(), "file": str(each.file)} for each in known])
        return
    ours = [each for each in known if each.state != BUNDLED]
    shown = [*ours, *(each for each in known if each.state == BUNDLED)]
    table(
        "", [{"cause": each.cause, "state": each.state, "title": each.wrong or each.title} for each in shown]
    )


@group.command(cls=Command, epilog=examples("sentinel runbook enable gsp-hang"))
def enable(name: Name) -> None:
    """Have a draft decide, once it passes `check`."""
    from sentinel.runbooks.own import enable as work

    say(f"enabled: {work(settings().cluster.runbooks_dir, name)}")
    say(APPLY)


@group.command(cls=Command, epilog=examples("sentinel runbook disable gsp-hang"))
def disable(name: Name) -> None:
    """Make one of the cluster's own runbooks a draft again."""
    from sentinel.runbooks.own import disable as work

    say(f"disabled: {work(settings().cluster.runbooks_dir, name)}")
    say(APPLY)


def _patience() -> AbstractContextManager[Any]:
    """Say on a terminal that it takes a while."""
    from sentinel.console import console

    return console(stderr=True).status("deciding the logbook again")


def _logbook() -> tuple[Path, Any, "Sequence[Case]"]:
    """Give the folder of the cluster's own runbooks, all that are in force, and all incidents."""
    from sentinel.drafting.library import cases
    from sentinel.runbooks import load

    given = settings()
    own, state = given.cluster.runbooks_dir, given.cluster.state_dir
    books = load(own=own)
    every = list(cases(state, given.policy, books))
    if not every:
        raise CommandError(f"{state}: no incident is on record here")
    return own, books, every


def _show(renamed: "Iterable[Renamed]", every: "Sequence[Case]") -> None:
    renamed = list(renamed)
    rows = [
        {"incident": e.incident, "was": e.was, "would be": e.now, "judged": f"{e.judged.value}: {e.why}"}
        for e in renamed
    ]
    if rows:
        table("", rows)
    wrong = sum(each.judged.value == "wrongly" for each in renamed)
    say(f"renames {len(renamed)} of {len(every)} incidents, {wrong} of them wrongly")


def _plain(renamed: "Iterable[Renamed]", every: "Sequence[Case]") -> dict[str, Any]:
    rows = [
        {
            "incident": e.incident,
            "at": e.at,
            "was": e.was,
            "now": e.now,
            "judged": e.judged.value,
            "why": e.why,
        }
        for e in renamed
    ]
    return {"incidents": len(every), "renamed": rows}
