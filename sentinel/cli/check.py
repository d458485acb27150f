"""The checks of the machine one stands on, for a person at a node that is suspected."""

import json as codec
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sentinel.cli.frame import (
    EXIT_BY_HEALTH,
    INSPECT,
    MISUSED,
    CommandError,
    app,
    ask,
    examples,
    say,
    say_json,
    settings,
    table,
)

if TYPE_CHECKING:
    from sentinel.adapters.pci_bus import Seen
    from sentinel.model.check import Series
    from sentinel.model.finding import Finding
    from sentinel.runtime.by_hand import Looked, Result
    from sentinel.runtime.probe import Hold

NO_DRIVER = (
    "No GPU could be asked: does `nvidia-smi` work here, and in this container? "
    "On a machine without GPUs: sentinel check --gpus none"
)
ALONE = "Not held against the fleet: no controller can be asked here; on the head node: sentinel probe gemm"
_VALUES = 4
"""So many measured values stand in a line of the table; all of them are in --json."""


@app.command(
    rich_help_panel=INSPECT,
    epilog=examples(
        "sentinel check",
        "sentinel check --all",
        "sentinel check --expected-gpus 8 --json",
        "sentinel check xid kernel oom --kernel-log /var/log/kern.log",
        "sentinel check host --gpus none",
    ),
)
def check(
    names: Annotated[list[str] | None, typer.Argument(help="All, if none is named.")] = None,
    gpus: Annotated[str, typer.Option(envvar="SENTINEL_GPUS", help="nvml, none or simulated:FILE.")] = "nvml",
    expected_gpus: Annotated[
        int | None, typer.Option(min=0, help="How many it should have; without: as many as on the PCI bus.")
    ] = None,
    kernel_log: Annotated[
        str, typer.Option(envvar="SENTINEL_KERNEL_LOG", help="A file, /dev/kmsg or none; of this boot.")
    ] = "/dev/kmsg",
    disk: Annotated[
        list[str] | None, typer.Option(help="A path or an object store's URL; repeat it. Without: /.")
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Also what keeps the machine busy, such as gemm: no job may be here."),
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="One object a check, with all that it measured.")
    ] = False,
) -> None:
    """Run checks on this machine now, each under its deadline, and say what was found and measured.

    Exit code by the worst finding: 0 nothing, 1 one that cannot tell, 3 a warning, 4 something critical.
    Checks that judge what only an agent knows, heartbeat and raylet, run only there.
    """
    import socket
    from dataclasses import replace

    from sentinel.cli.fleet import lines
    from sentinel.model.finding import Finding, Health
    from sentinel.runtime.by_hand import Here, Result, known, known_loads, look
    from sentinel.runtime.probe import held_nowhere

    if gpus not in ("nvml", "none") and not gpus.startswith("simulated:"):
        raise CommandError(f"--gpus {gpus!r}: expected nvml, none or simulated:FILE", MISUSED)
    checks, loads = known(), known_loads()
    for name in names or ():
        if name not in checks and name not in loads:
            listed = ", ".join([*checks, *loads])
            raise CommandError(f"no check {name!r} runs by hand: known are {listed}", MISUSED)
    chosen = [loads[name] for name in (loads if everything else names or ()) if name in loads]
    passive = dict.fromkeys(name for name in names or checks if name in checks)
    called = settings().checks
    lists = {"xid_fatal": frozenset(called.xid_fatal), "xid_ignored": frozenset(called.xid_ignored)}
    here = Here(socket.gethostname(), gpus, expected_gpus, tuple(disk or ["/"]), kernel_log, **lists)
    if chosen and not json:
        load, most_s = ", ".join(each.name for each in chosen), sum(each.deadline for each in chosen)
        say(f"{load} keeps this machine busy, for {most_s:.0f} s at most; the table follows")
    hold, unknown = _fleet() if chosen else (held_nowhere, "")
    looked = look(here, [checks[name] for name in passive], chosen, hold)
    seen = _on_the_bus(looked) if gpus == "nvml" and "gpu" in passive else None
    if seen is not None and seen.missing and expected_gpus is None:
        missed = Finding("gpu", "gpu-missing", "pci", Health.UNKNOWN, str(seen))
        looked = replace(looked, results=[*looked.results, Result("gpu", [missed])])
    if json:
        for result in looked.results:
            say_json(codec.dumps(_plain(result)))
    else:
        _show(looked.results, seen)
        for line in (
            [unknown] if unknown else lines([each for result in looked.results for each in result.held])
        ):
            say(line)
        if looked.lines is not None:
            say(f"Kernel lines of this boot: {looked.lines}")
        for line in _verdict(looked.results):
            say(line)
    raise typer.Exit(EXIT_BY_HEALTH[looked.worst])


def _fleet() -> "tuple[Hold, str]":
    """Ask the controller what other nodes have measured; says why, where that can't be known here."""
    import time
    from functools import partial

    from sentinel.core.baselines import hold
    from sentinel.core.state.rows import Baseline
    from sentinel.model.codec import CodecError, from_plain
    from sentinel.runtime.probe import held_nowhere

    try:
        known = from_plain(dict[str, Baseline], ask("GET", "baselines"))
    except (CommandError, CodecError):
        return held_nowhere, ALONE
    return partial(hold, known, now=time.time(), policy=settings().policy), ""


def _on_the_bus(looked: "Looked") -> "Seen":
    """Compare the GPUs that the driver shows with those on the PCI bus."""
    from sentinel.adapters import pci_bus

    return pci_bus.compare(list(looked.pci), pci_bus.gpus())


def _show(results: "Iterable[Result]", seen: "Seen | None") -> None:
    rows = [row for result in results for row in _rows(result)]
    table("", rows)
    if seen is not None:
        say(f"GPUs found: {seen.found}, on the PCI bus: {seen.on_bus}")
    gpu = {row["health"] for row in rows if row["check"] == "gpu"}
    if seen is not None and not seen.found and "unknown" in gpu:
        say(NO_DRIVER)
    causes = sorted({row["runbook"] for row in rows if row["runbook"]})
    if causes:
        say(f"What to do: {', '.join(f'{settings().cluster.web_url}/runbook/{cause}' for cause in causes)}")


def _verdict(results: "Sequence[Result]") -> Iterator[str]:
    """Say last, where a terminal ends, which checks are not well, the worst first."""
    from sentinel.model.counted import counted
    from sentinel.model.finding import WORST, Health

    by = {health: [each.check for each in results if each.health is health] for health in WORST}
    yield from (f"{health.value}: {', '.join(names)}" for health, names in by.items() if names)
    if not any(by.values()):
        skipped = sum(each.health is Health.SKIPPED for each in results)
        rest = f"; {skipped} more did not apply here" if skipped else ""
        yield f"Nothing found by {counted(len(results) - skipped, 'check')}{rest}"


def _rows(result: "Result") -> Iterator[dict[str, str]]:
    """Give a row for each finding, or one that says what was measured."""
    from sentinel.logbook.words import with_numbers

    for each in result.findings:
        line = each.evidence.get("line")
        times = f" ({each.count} times)" if each.count > 1 else ""
        yield {
            "check": result.check,
            "component": each.component,
            "health": each.health.value,
            "summary": f"{each.summary}{times}: {line}"
            if line
            else with_numbers(each.summary, each.evidence),
            "runbook": _cause(each),
        }
    if not result.findings:
        said = "; ".join(filter(None, ["nothing found", _measured(result.measured)]))
        yield {"check": result.check, "component": "", "health": "ok", "summary": said, "runbook": ""}


def _plain(result: "Result") -> dict[str, Any]:
    """Give a result as JSON has it: series are named as on the metrics page, without the prefix."""
    from sentinel.model.codec import to_plain

    url = settings().cluster.web_url
    return {
        "check": result.check,
        "health": result.health.value,
        "findings": [
            to_plain(each) | {"runbook": f"{url}/runbook/{cause}" if (cause := _cause(each)) else None}
            for each in result.findings
        ],
        "held": [to_plain(each) for each in result.held],
        "measured": {_named(of): value for of, value in result.measured.items()},
    }


def _named(of: "Series") -> str:
    labels = ",".join(f'{name}="{text}"' for name, text in of.labels)
    return f"{of.name}{{{labels}}}" if labels else of.name


def _cause(finding: "Finding") -> str:
    """Give the cause that such a finding is matched by, if there is one."""
    from sentinel.core.state import Rules
    from sentinel.model.policy import Policy
    from sentinel.runbooks import load

    books = Rules(Policy(), load(own=settings().cluster.runbooks_dir)).by_code.get(finding.code, ())
    return books[0].cause if books else ""


def _measured(values: "Mapping[Series, int | float]") -> str:
    """Say what was measured, the least and the most of each where there are several."""
    by_name: dict[str, list[float]] = defaultdict(list)
    for of, value in values.items():
        by_name[of.name].append(value)
    said = [f"{_words(name)} {figures(name, found)}" for name, found in by_name.items()]
    return ", ".join(said[:_VALUES]) + (f" and {len(said) - _VALUES} more" if len(said) > _VALUES else "")


_UNITS: dict[str, tuple[float, str]] = {
    "_bytes_per_second": (1.0, "B/s"), "_bytes": (1.0, "B"), "_ratio": (100.0, "%"),
    "_celsius": (1.0, " °C"), "_seconds": (1.0, " s"), "_watts": (1.0, " W"), "_hertz": (1.0, "Hz"),
}  # fmt: skip
"""How a metric's name ends → what its values are multiplied by, and their unit."""
_WHOLE_FROM = 100
"""From here on three digits are left of the point."""
_SCALED = ("B/s", "B", "Hz")
_PREFIXES = (" ", " k", " M", " G", " T", " P")


def _unit(name: str) -> tuple[str, float, str]:
    for ending, (factor, unit) in _UNITS.items():
        if name.endswith(ending):
            return name.removesuffix(ending), factor, unit
    return name, 1.0, ""


def _words(name: str) -> str:
    return _unit(name)[0].replace("_", " ").replace("|", " ")


def figures(name: str, values: list[float]) -> str:
    """Write values of a metric, the least and the most, with the unit that its name ends with."""
    _, factor, unit = _unit(name)
    most = max(map(abs, values)) * factor
    if unit in _SCALED:
        power = min(len(_PREFIXES) - 1, int(math.log10(most / 10.0) // 3) if most >= 10.0 else 0)
        factor, unit = factor / 1000.0**power, f"{_PREFIXES[power]}{unit}"
    low, high = (_rounded(each * factor) for each in (min(values), max(values)))
    return f"{low}{unit}" if low == high else f"{low} to {high}{unit}"


def _rounded(value: float) -> str:
    return f"{value:.3g}" if abs(value) < _WHOLE_FROM else f"{value:.0f}"
