"""Commands to a cluster: up and down, what is, and an operator's word."""

import os
import time
from typing import Annotated, Any

import typer

from sentinel.cli.frame import (
    CLUSTER,
    EXIT_BY_HEALTH,
    FAILED,
    MISUSED,
    OPERATE,
    CommandError,
    Json,
    Node,
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
STATUS_AGE_S = 5.0
"""A controller of a large cluster shows what was so up to a second ago."""


@app.command(
    rich_help_panel=CLUSTER,
    epilog=examples(
        "sentinel status",
        "sentinel status --watch",
        "sentinel status --why n2",
        "sentinel status --json | jq .jobs",
    ),
)
def status(
    why: Annotated[
        str, typer.Option(metavar="OBJECT", help="A node, job or incident: what decides about it now.")
    ] = "",
    watch: Annotated[
        bool,
        typer.Option("--watch", help="Go on until Ctrl-C; what is piped has a line for each change."),
    ] = False,
    json: Json = False,
) -> None:
    """Show the nodes, the job and what is open."""
    from urllib.parse import quote

    from sentinel.terminal import print_status, print_why

    if why and watch:
        raise CommandError("--watch shows all, --why one object: give one of them", MISUSED)
    if watch:
        from sentinel.cli.watch import watch as go_on

        go_on(lambda: ask("GET", "status"), json=json)
    elif why:
        show(ask("GET", f"why/{quote(why, safe='')}"), print_why, json=json)
    else:
        show(ask("GET", "status"), print_status, json=json)


@app.command(
    rich_help_panel=CLUSTER,
    epilog=examples("sentinel up", "sentinel up --config blue.toml", "sentinel up --apply"),
)
def up(
    apply: Annotated[
        bool, typer.Option("--apply", help="If it runs: restart watchdog and controller; ranks go on.")
    ] = False,
) -> None:
    """Start controller, agents and the job on the cluster of the settings.

    Settings are read at the start. While Sentinel runs this changes nothing, and says which settings are not
    in effect; `--apply` restarts watchdog and controller with them, while ranks and agents go on.
    """
    from sentinel.private import UMASK
    from sentinel.runtime.up import up as start

    os.umask(UMASK)
    for line in start(settings(), config_file(), apply=apply):
        say(line)


@app.command(rich_help_panel=CLUSTER, epilog=examples("sentinel down"))
def down() -> None:
    """End the job, the agents and the controller; the journal stays."""
    from sentinel.runtime.up import down as stop

    say(stop(settings()))


@app.command(
    rich_help_panel=CLUSTER,
    epilog=examples(
        "sentinel incidents", "sentinel incidents I-0042", "sentinel incidents I-0042 > I-0042.md"
    ),
)
def incidents(
    incident: Annotated[str, typer.Argument(help="One of them, such as I-0042: its whole entry.")] = "",
    json: Json = False,
) -> None:
    """List the incidents, newest first, or show one."""
    from urllib.parse import quote

    from sentinel.terminal import print_incident, print_incidents

    if incident:
        show(ask("GET", f"incidents/{quote(incident, safe='')}"), print_incident, json=json)
    else:
        show(ask("GET", "incidents"), print_incidents, json=json)


@app.command(rich_help_panel=OPERATE, epilog=examples('sentinel ack I-0007 --reason "changing the GPU"'))
def ack(
    incident: Annotated[str, typer.Argument(help="Such as I-0007, as `sentinel incidents` lists it.")],
    reason: Reason = "",
) -> None:
    """Say that you look after an incident; its page says so, too."""
    tell("ack", incident, reason)


@app.command(
    rich_help_panel=OPERATE,
    epilog=examples(
        'sentinel judge I-0007 --not-node --reason "the switch was it"', "sentinel judge I-0007 --right"
    ),
)
def judge(
    incident: Annotated[str, typer.Argument(help="Such as I-0007, also one that is long over.")],
    right: Annotated[bool, typer.Option("--right", help="Cause and node are right.")] = False,
    not_node: Annotated[bool, typer.Option("--not-node", help="The node was not to blame.")] = False,
    not_cause: Annotated[bool, typer.Option("--not-cause", help="The cause was another one.")] = False,
    reason: Reason = "",
) -> None:
    """Say whether a diagnosis was right: its entry shows it, and it is counted; nothing else follows."""
    said = [
        name for name, is_so in (("right", right), ("not-node", not_node), ("not-cause", not_cause)) if is_so
    ]
    if len(said) != 1:
        raise CommandError("give one of --right, --not-node and --not-cause", MISUSED)
    if not right and not reason.strip():
        raise CommandError(f"--{said[0]}: say with --reason what it was, for that is on record", MISUSED)
    tell(said[0], incident, reason)


For = Annotated[str, typer.Option("--for", metavar="TIME", help="How long from now: 30m, 2h, 1d.")]
Until = Annotated[
    str,
    typer.Option(
        metavar="WHEN", help="A time of day here, 14:30, or a date, '2026-12-24 14:30'; 2h as well."
    ),
]


@app.command(
    rich_help_panel=OPERATE,
    epilog=examples("sentinel silence n2 --for 2h", "sentinel silence throttle --until 14:30"),
)
def silence(
    target: Annotated[str, typer.Argument(help="A node or a cause.")],
    for_: For = "",
    until: Until = "",
    reason: Reason = "",
) -> None:
    """Page nobody about a node or a cause for a while, an hour if not said; actions go on."""
    tell("silence", target, reason, _lasts(for_ or ("" if until else "1h"), until))


@app.command(rich_help_panel=OPERATE, epilog=examples("sentinel silences"))
def silences(json: Json = False) -> None:
    """List who pages nobody, and until when."""
    from sentinel.terminal import print_silences

    status = ask("GET", "status")
    found = {"now": status["now"], "silences": status["silences"]}
    show(found, print_silences, json=json)


@app.command(rich_help_panel=OPERATE, epilog=examples("sentinel unsilence n2"))
def unsilence(target: Annotated[str, typer.Argument(help="As `sentinel silences` lists it.")]) -> None:
    """Let a node or a cause page again; what is still open pages now."""
    tell("unsilence", target)


def _lasts(for_: str, until: str) -> float:
    """Give the seconds that one of `--for` and `--until` means. Raises CommandError."""
    from sentinel.core.commands import LONGEST_SILENCE_S

    if bool(for_) == bool(until):
        raise CommandError("give either --for, such as 2h, or --until, such as 14:30", MISUSED)
    seconds = duration(for_, "--for") if for_ else time_from_now(until, "--until")
    if not 0 < seconds <= LONGEST_SILENCE_S:
        option = f"--for {for_!r}" if for_ else f"--until {until!r}"
        raise CommandError(f"{option}: expected more than nothing and at most 30d from now", MISUSED)
    return seconds


@app.command(
    rich_help_panel=OPERATE,
    epilog=examples(
        "sentinel maintain n2 --for 2h", 'sentinel maintain n2 --until 14:30 --reason "new kernel"'
    ),
)
def maintain(node: Node, for_: For = "", until: Until = "", reason: Reason = "") -> None:
    """Expect a node to be silent for a time: nothing is placed there, nobody is paged, evicted or blamed."""
    tell("maintain", node, reason, _lasts(for_, until))


@app.command(
    rich_help_panel=OPERATE,
    epilog=examples('sentinel drain n2 --reason "fans"', "sentinel drain n2 --wait --deadline 10m"),
)
def drain(
    node: Node,
    reason: Reason = "",
    wait: Annotated[bool, typer.Option("--wait", help="Until no process of a job is left there.")] = False,
    deadline: Annotated[
        str,
        typer.Option(metavar="TIME", help="Wait no longer than this, 10m or 2h; exit 1 when it has passed."),
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


def _now(name: str) -> dict[str, Any]:
    """Give a node as the controller sees it now; nothing for one that it does not know."""
    return next((node for node in ask("GET", "status")["nodes"] if node["node"] == name), {})


def _full(name: str) -> str:
    """Say what a drained node still waits for; empty when it is. Raises CommandError if it is not drained."""
    node = _now(name)
    if not node.get("cordon"):
        raise CommandError(f"{name} is not drained any more", FAILED)
    return str(node["full"])


@app.command(
    rich_help_panel=OPERATE,
    epilog=examples("sentinel retry I-0007", "sentinel retry n2", "sentinel retry train"),
)
def retry(
    target: Annotated[str, typer.Argument(help="An incident, a node or a job.")], reason: Reason = ""
) -> None:
    """Try again what was refused, failed or given up; a job that was stopped starts from its newest state."""
    tell("retry", target, reason)


@app.command(rich_help_panel=OPERATE, epilog=examples("sentinel grow train"))
def grow(
    job: Annotated[str, typer.Argument(help="Name of a job, as `sentinel status` shows it.")],
    reason: Reason = "",
) -> None:
    """Have a degraded job grow back now, at its next step boundary; says what it waits for."""
    tell("grow", job, reason)


@app.command(
    rich_help_panel=OPERATE,
    epilog=examples(
        'sentinel undrain n2 --reason "new DIMM"', 'sentinel undrain n2 --no-proof --reason "drill"'
    ),
)
def undrain(
    node: Node,
    reason: Reason = "",
    no_proof: Annotated[
        bool, typer.Option("--no-proof", help="Take it back at once, on your word; say why with --reason.")
    ] = False,
) -> None:
    """Let a drained or evicted node be used again, once it has shown that it is well.

    It passes its own checks, those that it had failed among them, is loaded, and passes them again. Exit
    code: 0 it is in use, 1 the proof could not be run or makes no sense, 4 it failed; then it stays out.
    """
    if no_proof and not reason.strip():
        raise CommandError("--no-proof: say with --reason why it is well, for that is on record", MISUSED)
    if no_proof:
        tell("undrain", node, reason)
        return
    before = _now(node).get("proof_at", 0.0)
    tell("prove", node, reason)
    _until_proved(node, before)


def _until_proved(name: str, before: float) -> None:
    """Return when a node has passed its proof, or needed none. Raises CommandError with why it stays out.

    `before` is when its last proof was asked for: the status may be a moment old.
    """
    shown, until = None, time.monotonic() + STATUS_AGE_S
    while (node := _now(name)).get("cordon") and node["proof_at"] == before and time.monotonic() < until:
        time.sleep(LOOK_EVERY_S)
    while (node := _now(name)).get("proof_stage") == "under way":
        said = "; ".join(filter(None, (node["proof"], node["full"])))
        if said != shown:
            say(said)
            shown = said
        time.sleep(LOOK_EVERY_S)
    if node.get("cordon"):
        code = EXIT_BY_HEALTH["critical"] if node["proof_stage"] == "failed" else FAILED
        raise CommandError(f"{name} stays out: {node['proof'] or node['cordon']}", code)
    if node.get("proof"):
        say(node["proof"])
    say(f"{name} is in use again")


@app.command(
    name="stop-actions",
    rich_help_panel=OPERATE,
    epilog=examples('sentinel stop-actions --reason "network maintenance"'),
)
def stop_actions(reason: Reason = "") -> None:
    """Do nothing but watch and page, until resume-actions."""
    tell("stop-actions", "", reason)


@app.command(name="resume-actions", rich_help_panel=OPERATE, epilog=examples("sentinel resume-actions"))
def resume_actions(reason: Reason = "") -> None:
    """Act again, on what is still true."""
    tell("resume-actions", "", reason)
