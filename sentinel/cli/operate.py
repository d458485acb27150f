"""Commands to a cluster: up and down, what is, and an operator's word."""

import os
from typing import Annotated

import typer

from sentinel.cli.frame import (
    MISUSED,
    CommandError,
    Json,
    Reason,
    app,
    ask,
    config_file,
    duration,
    say,
    settings,
    show,
    tell,
    time_from_now,
)


@app.command()
def up() -> None:
    """Start controller, agents and the job on the cluster of the settings."""
    from sentinel.private import UMASK
    from sentinel.runtime.up import up as start

    os.umask(UMASK)
    say(start(settings(), config_file()))


@app.command()
def down() -> None:
    """End the job, the agents and the controller; the journal stays."""
    from sentinel.runtime.up import down as stop

    say(stop(settings()))


@app.command()
def status(
    why: Annotated[
        str, typer.Option(metavar="OBJECT", help="A node, job or incident: what decides about it now.")
    ] = "",
    json: Json = False,
) -> None:
    """Show the nodes, the job and what is open."""
    from urllib.parse import quote

    from sentinel.terminal import print_status, print_why

    if why:
        show(ask("GET", f"why/{quote(why, safe='')}"), print_why, json=json)
    else:
        show(ask("GET", "status"), print_status, json=json)


@app.command()
def incidents(json: Json = False) -> None:
    """List the incidents, newest first."""
    from sentinel.terminal import print_incidents

    show(ask("GET", "incidents"), print_incidents, json=json)


@app.command()
def ack(incident: str, reason: Reason = "") -> None:
    """Say that you look after an incident."""
    tell("ack", incident, reason)


@app.command()
def silence(
    target: Annotated[str, typer.Argument(help="A node or a cause.")],
    until: Annotated[str, typer.Option(help="How long from now: 30m, 2h, 1d.")] = "1h",
    reason: Reason = "",
) -> None:
    """Page nobody about a node or a cause for a while; actions go on."""
    from sentinel.core.commands import LONGEST_SILENCE_S

    tell("silence", target, reason, _limited(duration(until, "--until"), until, LONGEST_SILENCE_S))


def _limited(seconds: float, until: str, longest: float) -> float:
    if not 0 < seconds <= longest:
        raise CommandError(f"--until {until!r}: expected more than nothing and at most 30d", MISUSED)
    return seconds


@app.command()
def maintain(
    node: str,
    until: Annotated[str, typer.Option(help="How long from now, 2h or 1d, or a time of day here, 14:30.")],
    reason: Reason = "",
) -> None:
    """Expect a node to be silent until then: nothing is placed there, nobody is paged, evicted or blamed."""
    from sentinel.core.commands import LONGEST_SILENCE_S

    tell("maintain", node, reason, _limited(time_from_now(until, "--until"), until, LONGEST_SILENCE_S))


@app.command()
def drain(node: str, reason: Reason = "") -> None:
    """Take a node out of use at the next step boundary; Sentinel never undoes that."""
    tell("drain", node, reason)


@app.command()
def undrain(node: str, reason: Reason = "") -> None:
    """Let a drained or evicted node be used again."""
    tell("undrain", node, reason)


@app.command(name="stop-actions")
def stop_actions(reason: Reason = "") -> None:
    """Do nothing but watch and page, until resume-actions."""
    tell("stop-actions", "", reason)


@app.command(name="resume-actions")
def resume_actions(reason: Reason = "") -> None:
    """Act again, on what is still true."""
    tell("resume-actions", "", reason)
