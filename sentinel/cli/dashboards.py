"""Commands about Grafana dashboards: build and check them, and bring them into a Grafana."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sentinel.cli.frame import (
    FAILED,
    INSPECT,
    MISUSED,
    AsJson,
    Command,
    CommandError,
    Group,
    app,
    examples,
    say,
    say_document,
)

if TYPE_CHECKING:
    from sentinel.dashboards.push import Source

group = typer.Typer(cls=Group, help="Grafana dashboards: build, check, push.")
app.add_typer(group, name="dashboards", rich_help_panel=INSPECT)
TOKEN = "GRAFANA_TOKEN"  # noqa: S105 - the name of a variable


@group.command(
    cls=Command, epilog=examples("sentinel dashboards build --to /etc/grafana/dashboards/sentinel")
)
def build(
    to: Annotated[
        Path | None, typer.Option(help="Copy those of this release there; without: build them anew.")
    ] = None,
) -> None:
    """Write the dashboards as files that Grafana reads, and say which changed.

    Without --to into the source, for those who change them.
    """
    from sentinel.dashboards import build as work

    folder = to or work.FILES
    for name in (changed := work.write(work.files() if to else work.built(), folder)):
        say(f"written: {folder / name}")
    if not changed:
        say(f"{folder}: nothing to change")


@group.command(cls=Command, epilog=examples("sentinel dashboards check --metrics docs/metrics.md"))
def check(
    metrics: Annotated[
        Path | None, typer.Option(help="Compare with this table of all metrics, too: docs/metrics.md.")
    ] = None,
    json: AsJson = False,
) -> None:
    """Judge the dashboards by the rules of Grafana's dashboard-linter; exit 1 when one is broken."""
    from sentinel.dashboards import build as work
    from sentinel.dashboards import lint, series

    boards = list(work.committed())
    found = [str(each) for board in boards for each in lint.complaints(board)]
    found += [f"{work.FILES / name}: not what is built: sentinel dashboards build" for name in work.stale()]
    if metrics is not None:
        found += [str(each) for each in series.complaints(metrics.read_text(encoding="utf-8"), boards)]
    if json:
        say_document({"dashboards": len(boards), "complaints": found})
    for line in [] if json else found:
        say(line)
    if found:
        raise typer.Exit(FAILED)
    if not json:
        say(f"{len(boards)} dashboards keep all rules")


@group.command(
    cls=Command,
    epilog=examples(
        f"{TOKEN}=glsa_… sentinel dashboards push --url https://grafana.example.com --dry-run",
        "sentinel dashboards push --url http://127.0.0.1:3000 --datasource Prometheus",
    ),
)
def push(
    url: Annotated[str, typer.Option(envvar="GRAFANA_URL", help="Address of the Grafana.")],
    datasource: Annotated[
        str,
        typer.Option(
            help="Name or uid of the Prometheus data source; without: the only one, or you are asked."
        ),
    ] = "",
    folder: Annotated[str, typer.Option(help="Title of the folder, when it is made.")] = "Sentinel",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    json: AsJson = False,
) -> None:
    """Bring the dashboards into a Grafana, and say what changed; again, and nothing does.

    The token of a service account, with an Editor's rights, is read from $GRAFANA_TOKEN.
    """
    from sentinel.dashboards import build as work
    from sentinel.dashboards.push import Grafana, choose

    if not (token := os.environ.get(TOKEN, "")):
        raise CommandError(f"no token: put that of a service account of Grafana into ${TOKEN}", MISUSED)
    grafana = Grafana(url, token)
    release, sources = grafana.check(), grafana.sources()
    source = choose(sources, datasource) or _asked(sources)
    pushed = grafana.push(work.committed(), source, folder, dry_run=dry_run)
    if json:
        changes = [{"kind": each.kind, "what": each.what, "url": each.url} for each in pushed]
        said = {"changes": changes, "dry_run": dry_run, "grafana": release, "datasource": source.name}
        say_document(said)
        return
    for each in pushed:
        say(f"{each.kind}: {each.what} {each.url}".rstrip())
    done = "nothing was done: --dry-run" if dry_run else "done"
    say(f"{done}; Grafana {release}, data source {source.name}")


def _asked(sources: Sequence["Source"]) -> "Source":
    """Ask which data source, where somebody can answer."""
    from sentinel.dashboards.push import choose

    names = ", ".join(each.name for each in sources)
    if not sys.stdin.isatty():
        raise CommandError(f"several Prometheus data sources, say which by --datasource: {names}", MISUSED)
    chosen = choose(sources, typer.prompt(f"Which data source ({names})", default=sources[0].name))
    assert chosen is not None
    return chosen
