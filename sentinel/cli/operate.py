"""Commands to a cluster: up and down, what is, and an operator's word."""

import os
import time
from typing import Annotated, Any

import typer

from sentinel.cli.frame import (
    CLUSTER,
    FAILED,
    MISUSED,
    OPERATORS,
    CommandError,
    Json,
    Reason,
    app,
    ask,
    config_file,
    duration,
    examples,
    say,
    settings,
    show,
    tell,
    time_from_now,
)

LOOK_EVERY_S = 0.5


@app.command(rich_help_panel=CLUSTER, epilog=examples("sentinel up", "sentinel up --config blue.toml"))
def up() -> None:
    """Start controller, agents and the job on the cluster of the settings."""
    from sentinel.private import UMASK
    from sentinel.runtime.up import up as start

    os.umask(UMASK)
    say(start(settings(), config_file()))


@app.command(rich_help_panel=CLUSTER, epilog=examples("sentinel down"))
def down() -> None:
    """End the job, the agents and the controller; the journal stays."""
    from sentinel.runtime.up import down as stop

    say(stop(settings()))


@app.command(
    rich_help_panel=CLUSTER,
    epilog=examples("sentinel status", "sentinel status --why n2", "sentinel status --json | jq .jobs"),
)
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


@app.command(rich_help_panel=CLUSTER, epilog=examples("sentinel incidents"))
def incidents(json: Json = False) -> None:
    """List the incidents, newest first."""
    from sentinel.terminal import print_incidents

    show(ask("GET", "incidents"), print_incidents, json=json)


@app.command(rich_help_panel=OPERATORS, epilog=examples('sentinel ack I-0007 --reason "changing the GPU"'))
def ack(incident: str, reason: Reason = "") -> None:
    """Say that you look after an incident; its page says so, too."""
    tell("ack", incident, reason)


@app.command(
    rich_help_panel=OPERATORS,
    epilog=examples("sentinel silence n2 --until 2h", "sentinel silence throttle --until 1d"),
)
def silence(
    target: Annotated[str, typer.Argument(help="A node or a cause.")],
    until: Annotated[str, typer.Option(help="How long from now: 30m, 2h, 1d.")] = "1h",
    reason: Reason = "",
) -> None:
    """Page nobody about a node or a cause for a while; actions go on."""
    from sentinel.core.commands import LONGEST_SILENCE_S

    tell("silence", target, reason, _limited(duration(until, "--until"), until, LONGEST_SILENCE_S))


@app.command(rich_help_panel=OPERATORS, epilog=examples("sentinel silences"))
def silences(json: Json = False) -> None:
    """List who pages nobody, and until when."""
    from sentinel.terminal import print_silences

    status = ask("GET", "status")
    found = {"now": status["now"], "silences": status["silences"]}
    show(found, print_silences, json=json)


@app.command(rich_help_panel=OPERATORS, epilog=examples("sentinel unsilence n2"))
def unsilence(target: Annotated[str, typer.Argument(help="As `sentinel silences` lists it.")]) -> None:
    """Let a node or a cause page again; what is still open pages now."""
    tell("unsilence", target)


def _limited(seconds: float, until: str, longest: float) -> float:
    if not 0 < seconds <= longest:
        raise CommandError(f"--until {until!r}: expected more than nothing and at most 30d", MISUSED)
    return seconds


@app.command(
    rich_help_panel=OPERATORS,
    epilog=examples(
        'sentinel maintain n2 --until 14:30 --reason "new kernel"', "sentinel maintain n2 --until 2h"
    ),
)
def maintain(
    node: str,
    until: Annotated[str, typer.Option(help="How long from now, 2h or 1d, or a time of day here, 14:30.")],
    reason: Reason = "",
) -> None:
    """Expect a node to be silent until then: nothing is placed there, nobody is paged, evicted or blamed."""
    from sentinel.core.commands import LONGEST_SILENCE_S

    tell("maintain", node, reason, _limited(time_from_now(until, "--until"), until, LONGEST_SILENCE_S))


@app.command(
    rich_help_panel=OPERATORS,
    epilog=examples('sentinel drain n2 --reason "fans"', "sentinel drain n2 --wait --deadline 10m"),
)
def drain(
    node: str,
    reason: Reason = "",
    wait: Annotated[bool, typer.Option("--wait", help="Until no process of a job is left there.")] = False,
    deadline: Annotated[
        str, typer.Option(help="Wait no longer than this, 10m or 2h; exit 1 when it has passed.")
    ] = "",
) -> None:
    """Take a node out of use at the next step boundary; Sentinel never undoes that.

    Says what it waits for.
    """
    within = duration(deadline, "--deadline") if deadline else float("inf")
    tell("drain", node, reason)
    if wait or deadline:
        _until_empty(node, within)


def _until_empty(name: str, within: float) -> None:
    """Return when no process of a job is left on a node. Raises CommandError with what keeps it full."""
    ends, shown = time.monotonic() + within, None
    while full := _full(name):
        if time.monotonic() > ends:
            raise CommandError(f"{name} is not empty in time: {full}", FAILED)
        if full != shown:
            say(f"waiting: {full}")
            shown = full
        time.sleep(LOOK_EVERY_S)
    say(f"{name} is empty")


def _full(name: str) -> str:
    """Say what a drained node still waits for; empty when it is. Raises CommandError if it is not drained."""
    node: dict[str, Any] = next((n for n in ask("GET", "status")["nodes"] if n["node"] == name), {})
    if not node.get("cordon"):
        raise CommandError(f"{name} is not drained any more", FAILED)
    return str(node["full"])


@app.command(
    rich_help_panel=OPERATORS,
    epilog=examples("sentinel retry I-0007", "sentinel retry n2", "sentinel retry moe"),
)
def retry(
    target: Annotated[str, typer.Argument(help="An incident, a node or a job.")], reason: Reason = ""
) -> None:
    """Try again what was refused, failed or given up; a job that was stopped starts from its newest state."""
    tell("retry", target, reason)


@app.command(rich_help_panel=OPERATORS, epilog=examples("sentinel grow moe"))
def grow(job: str, reason: Reason = "") -> None:
    """Have a degraded job grow back now, at its next step boundary; says what it waits for."""
    tell("grow", job, reason)


@app.command(rich_help_panel=OPERATORS, epilog=examples("sentinel undrain n2"))
def undrain(node: str, reason: Reason = "") -> None:
    """Let a drained or evicted node be used again."""
    tell("undrain", node, reason)


@app.command(
    name="stop-actions",
    rich_help_panel=OPERATORS,
    epilog=examples("sentinel stop-actions --reason mine"),
)
def stop_actions(reason: Reason = "") -> None:
    """Do nothing but watch and page, until resume-actions."""
    tell("stop-actions", "", reason)


@app.command(name="resume-actions", rich_help_panel=OPERATORS, epilog=examples("sentinel resume-actions"))
def resume_actions(reason: Reason = "") -> None:
    """Act again, on what is still true."""
    tell("resume-actions", "", reason)
