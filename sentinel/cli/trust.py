"""Commands about who is believed: nodes, and checkpoints."""

from pathlib import Path
from typing import Annotated

import typer

from sentinel.cli.frame import (
    FAILED,
    MISUSED,
    TRUST,
    CommandError,
    app,
    duration,
    examples,
    say,
    say_document,
    settings,
    table,
)


@app.command(
    rich_help_panel=TRUST,
    epilog=examples("sentinel enroll --token --for 2h --nodes 'gpu-*' --uses 64", "sentinel enroll --list"),
)
def enroll(
    nodes: Annotated[list[str] | None, typer.Argument(help="Names of nodes that get a key each.")] = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="Believe these nodes' keys no more.")] = False,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="A new key for each; the old one is good until that is used.")
    ] = False,
    token: Annotated[bool, typer.Option("--token", help="Print a token with which nodes join.")] = False,
    for_: Annotated[str, typer.Option("--for", help="How long a token is good: 30m, 2h, 1d.")] = "1h",
    pattern: Annotated[
        str, typer.Option("--nodes", help="Names that may join by a token, as `gpu-*`.")
    ] = "*",
    uses: Annotated[int, typer.Option(min=1, help="How many nodes may join by a token.")] = 10**9,
    accept_shared: Annotated[
        str, typer.Option(help="How long the key that all agents shared in an earlier release may join.")
    ] = "",
    end_tokens: Annotated[bool, typer.Option("--end-tokens", help="Let nobody join any more.")] = False,
    to: Annotated[Path | None, typer.Option(help="Folder for what is to be carried to the nodes.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show nodes and tokens.")] = False,
    json: Annotated[bool, typer.Option("--json", help="With --list: print it for programs.")] = False,
) -> None:
    """Give nodes keys, or a token with which they get their own; on the head node, as who runs Sentinel."""
    from sentinel.runtime import enroll as work

    asked = [bool(nodes), token, bool(accept_shared), end_tokens, list_]
    if sum(asked) != 1 or (revoke and rotate) or ((revoke or rotate) and not nodes):
        raise CommandError(
            "enroll takes nodes (perhaps with --revoke or --rotate), or one of --token, --accept-shared, "
            "--end-tokens, --list",
            MISUSED,
        )
    if json and not list_:
        raise CommandError("--json is for what --list shows", MISUSED)
    directory = settings().cluster.keys_dir
    if list_:
        rows = work.known(directory)
        if json:
            say_document(rows)
            return
        none = f"no node has a key yet, and no token is out ({directory})"
        table("", rows) if rows else say(none)
        return
    token_s = duration(for_, "--for") if token else 0.0
    shared_s = duration(accept_shared, "--accept-shared") if accept_shared else 0.0
    wish = work.Wish(
        nodes or (), revoke, rotate, end_tokens, token_s, shared_s, pattern=pattern, uses=uses, to=to
    )
    for line in work.enroll(directory, wish):
        say(line)


@app.command("seal-checkpoints", rich_help_panel=TRUST, epilog=examples("sentinel seal-checkpoints --yes"))
def seal_checkpoints(
    yes: Annotated[bool, typer.Option("--yes", help="Seal those that are whole.")] = False,
    json: Annotated[bool, typer.Option("--json", help="One object a line and checkpoint.")] = False,
) -> None:
    """List the job's checkpoints that it has not sealed, as of an older release; with --yes seal them."""
    from sentinel import private
    from sentinel.adapters.keys import Keys
    from sentinel.gang.snapshot_keys import checkpoint_key, job_key
    from sentinel.trainer import accept

    cluster, job = settings().cluster, settings().job
    directory = job.checkpoint_dir / "checkpoints"
    key = checkpoint_key(job_key(Keys(cluster.keys_dir).snapshot_secret, job.name))
    if directory.is_dir() and (why := private.open_to_others(directory)):
        say_document({"warning": why}) if json else say(why)
    left = 0
    for found in accept.candidates(directory, key):
        if sealed := yes and isinstance(found, accept.Candidate):
            accept.seal(found, key)
        left += not sealed
        if json:
            whole = isinstance(found, accept.Candidate)
            say_document({"checkpoint": str(found), "whole": whole, "sealed": sealed})
        else:
            say(f"sealed: {found}" if sealed else f"{found}")
    if left:
        raise typer.Exit(FAILED)
