"""Have nodes measure together: how fast their devices and the ways between them are, and who stands out."""

import getpass
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer

from sentinel.cli.frame import EXIT_BY_HEALTH, INSPECT, Json, app, ask, examples, say, say_json, table

LOOK_EVERY_S = 0.3


@app.command(
    rich_help_panel=INSPECT,
    epilog=examples(
        "sentinel probe pair", "sentinel probe gemm --nodes n7,n8", "sentinel probe pair --disturb --json"
    ),
)
def probe(
    check: Annotated[
        str,
        typer.Argument(
            help="pair: bandwidth and latency between nodes; all_reduce: all of them, then halves; gemm: "
            "how fast each device is, and whether it computes right. A wrong name lists all."
        ),
    ],
    nodes: Annotated[
        list[str] | None, typer.Option(help="Separate them by commas; without: all that no job needs.")
    ] = None,
    disturb: Annotated[
        bool, typer.Option("--disturb", help="Also beside a job; without --nodes on all nodes.")
    ] = False,
    json: Json = False,
) -> None:
    """Have nodes measure together now, and say what was measured and who stands out, also beside the fleet.

    Nobody is evicted for it. Exit code by the worst finding: 0 nothing, 1 of all or of some nothing could be
    measured or told, 3 a warning, 4 something critical.
    """
    named = [name.strip() for item in nodes or () for name in item.split(",") if name.strip()]
    body = {"check": check, "nodes": named, "disturb": disturb, "who": getpass.getuser()}
    now = ask("POST", "probe", body)
    if not json:
        say(f"{check} on {', '.join(now['nodes'])}, for {now['deadline_s']:.0f} s at most once all are ready")
        say("; ".join(f"beside {each}" for each in now["disturbs"]) or "no job has ranks there")
    told = ""
    while not now["ended"]:
        time.sleep(LOOK_EVERY_S)
        now = ask("GET", f"probe/{now['name']}")
        said = _how_far(now)
        if said != told and not json:
            say(said)
        told = said
    if json:
        import json as codec

        say_json(codec.dumps(now))
    else:
        _show(now)
    raise typer.Exit(_code(now))


def _how_far(now: Mapping[str, Any]) -> str:
    samples = now["samples"]
    if not samples:
        return "the nodes get ready and measure"
    answered = sum(not each["error"] for each in samples)
    return f"round {samples[-1]['round'] + 1}: {answered} of {len(samples)} measurements"


def _show(now: Mapping[str, Any]) -> None:
    from sentinel.cli.fleet import lines
    from sentinel.model.codec import from_plain
    from sentinel.model.collective import Held

    if rows := list(_rows(now["samples"])):
        table("", rows)
    errors = {f"{each['node']}: {each['error']}" for each in now["samples"] if each["error"]}
    for error in sorted(errors):
        say(f"not measured: {error}")
    if now["error"]:
        say(f"no opinion: {now['error']}")
    for each in now["findings"]:
        found = each["finding"]
        say(f"{found['health']}: {each['node']} {found['component']}: {found['summary']}")
    for line in lines(from_plain(tuple[Held, ...], now.get("held", []))):
        say(line)
    if not (now["error"] or now["findings"] or errors):
        say("nobody stands out")


def _rows(samples: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    """Give a row for each who measured together, or for each device of a node: the mean of what they say."""
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for each in samples:
        for name, value in each["values"].items():
            device, _, what = name.rpartition("|")
            found[", ".join(each["members"]), device.replace("|", " ")][what].append(value)
    for (members, device), values in found.items():
        means = {what: f"{sum(of) / len(of):.4g}" for what, of in values.items()}
        yield {"nodes": members} | ({"device": device} if device else {}) | means


def _code(now: Mapping[str, Any]) -> int:
    """Give the exit code; where nothing could be measured, nothing can be told."""
    worst = max((EXIT_BY_HEALTH[each["finding"]["health"]] for each in now["findings"]), default=0)
    measured = any(not each["error"] for each in now["samples"])
    return worst or EXIT_BY_HEALTH["unknown" if now["error"] or not measured else "ok"]
