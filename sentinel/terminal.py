"""What the `sentinel` command prints: the controller's JSON as tables, and a replay line by line."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group, JustifyMethod, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from sentinel.console import console
from sentinel.model.counted import counted, duration
from sentinel.web.ranges import ranges

if TYPE_CHECKING:
    from sentinel.core.replay import Comparison
    from sentinel.model.decision import Decision

Plain = Mapping[str, Any]

ALL_NODES = 32
"""A larger cluster shows only the nodes that need a look, and counts the others."""
STYLES = {
    "ok": "green",
    "warning": "yellow",
    "critical": "bold red",
    "info": "cyan",
    "unknown": "magenta",
    "running": "green",
    "forming": "yellow",
    "waiting": "yellow",
    "broken": "bold red",
    "stopped": "bold red",
    "finished": "green",
    "open": "bold red",
    "mitigating": "yellow",
    "resolved": "green",
    "over": "yellow",
}


def print_status(status: Plain) -> None:
    """Print what keeps Sentinel from acting, the nodes, the jobs and what is open."""
    console().print(Group(*_status(status)))


def print_incidents(answer: Plain) -> None:
    """Print every incident, newest first; open ones without a diagnosis are in no logbook yet."""
    written = {row["incident"] for row in answer["logbook"]}
    rows = [_open_row(each) for each in answer["open"] if each["incident"] not in written]
    rows += [_logbook_row(row) for row in answer["logbook"]]
    columns = ("incident", "opened, UTC", "stage", "what and where", "new step s", "lost")
    table = _table(columns, rows, right=columns[4:], wide=columns[3:])
    console().print(table if rows else "no incidents")
    if any(row["again"] for row in answer["logbook"]):
        console().print(
            "new step s: seconds without a step; a further line for each time that it broke again"
        )


def print_incident(answer: Plain) -> None:
    """Print one incident: its entry, set on a terminal and as Markdown elsewhere, or what is known by now."""
    out, entry = console(highlight=False), answer["entry"]
    if entry is None:
        out.print(_open({"incidents": [answer["open"]], "now": answer["now"]}))
    elif out.is_terminal:
        from rich.markdown import Markdown

        out.print(Markdown(entry, hyperlinks=False))
    else:
        out.print(entry, markup=False, soft_wrap=True, end="")


def print_silences(answer: Plain) -> None:
    """Print who pages nobody, until when, and who asked for that and why."""
    rows = [
        (
            escape(each["target"]),
            _when(each["until"]),
            duration(each["until"] - answer["now"]),
            escape(each["who"]),
            escape(each["reason"]),
        )
        for each in answer["silences"]
    ]
    columns = ("node or cause", "until, UTC", "for", "asked by", "why")
    console().print(_table(columns, rows, wide=columns[4:]) if rows else "nobody is silenced")


def print_why(answer: Plain) -> None:
    """Print what decides about an object: what it is, wants, has ordered, waits for, and who refuses."""
    rows = [(reason["kind"], escape(reason["text"])) for reason in answer["reasons"]]
    console().print(_table(("", answer["object"]), rows, wide=(answer["object"],)))


def print_replay(comparisons: "Iterable[Comparison]") -> int:
    """Print each fact with what is decided from it now, then the differences; gives their number.

    A difference is what was recorded and is not decided now (`-`) or the other way round (`+`).
    """
    from sentinel.logbook.words import fact_line

    out = console(highlight=False, markup=False, soft_wrap=True)
    facts, differing, start = 0, [], None
    for each in comparisons:
        facts += 1
        line = each.line
        start = line.fact.at if start is None else start
        out.print(f"{line.seq:>6} {line.fact.at - start:>9.3f} s  {fact_line(line.fact)}")
        for decision in each.decided:
            out.print(f"{'':20}→ {_decision(decision)}", style="cyan")
        differing += [each] if each.differs else []
    for each in differing:
        out.print(f"differs at {each.line.seq}, {type(each.line.fact).__name__}:", style="bold")
        for decision in each.missing:
            out.print(f"  - {_decision(decision)}", style="red")
        for decision in each.added:
            out.print(f"  + {_decision(decision)}", style="green")
        if not each.missing and not each.added:
            out.print("  ~ the same in another order", style="yellow")
    out.print(f"{counted(facts, 'fact')}, {counted(len(differing), 'difference')}")
    return len(differing)


def plain_replay(comparisons: "Iterable[Comparison]") -> Iterator[dict[str, Any]]:
    """Give each fact with what is decided from it now, and what of that differs, for programs."""
    from sentinel.logbook.words import fact_line

    for each in comparisons:
        yield {
            "seq": each.line.seq,
            "at": each.line.fact.at,
            "fact": type(each.line.fact).__name__,
            "text": fact_line(each.line.fact),
            "decided": [*map(_decision, each.decided)],
            "missing": [*map(_decision, each.missing)],
            "added": [*map(_decision, each.added)],
            "differs": each.differs,
        }


def _decision(decision: "Decision") -> str:
    from sentinel.logbook.words import decision_line
    from sentinel.model.action import Deed

    name = f"  [{decision.id}]" if isinstance(decision, Deed) else ""
    return f"{decision_line(decision)}{name}"


def screen_of(status: Plain) -> RenderableType:
    """Give what is shown of a cluster on one screen: what is open first, for the end may be cut."""
    return Group(*_alarms(status), *_opened(status), *_work(status), "", _nodes(status))


def states(status: Plain) -> dict[str, str]:
    """Say in a line each what is so, by what it is of; what only goes on, such as steps, is in none."""
    acting = "; ".join(line.plain for line in _alarms({**status, "ray_trouble": ""})) or "Sentinel acts"
    found = {"actions": acting, "left for people": "; ".join(status["left"]) or "nothing"}
    found["scheduler"] = status["ray_trouble"] or "no trouble"
    found |= {f"node {node['node']}": "; ".join(_standing(node)) for node in status["nodes"]}
    for job in status["jobs"]:
        size = f"generation {job['generation']}, {len(job['seats'])} of {job['wanted']} ranks"
        found[f"job {job['job']}"] = f"{job['stage']}, {size}{job['needs'] and '; needs '}{job['needs']}"
    for each in status["incidents"]:
        acked = f"; acknowledged by {each['acked_by']}" if each["acked_by"] else ""
        where = f": {each['where']}" if each["where"] else ""
        said = f"{each['stage']}, {each['severity']}, {each['title']}{where}"
        found[f"incident {each['incident']}"] = said + acked
    for each in status["silences"]:
        found[f"silence {each['target']}"] = f"until {_when(each['until'])} UTC{_by(each)}"
    return found


def _standing(node: Plain) -> Iterator[str]:
    """Say what is so of a node, without what grows or runs down by itself."""
    yield "silent" if node["silent"] else node["health"]
    if node["maintained"]:
        yield f"in maintenance: {node['maintained']}"
    if node["cordon"]:
        yield f"cordoned: {node['cordon']}"
        yield from filter(None, [node["proof"]])
    if node["repairing"]:
        yield f"{node['repairing']} is under way"
    if node["probation_s"]:
        yield "on probation"
    yield from node["findings"]


def _status(status: Plain) -> Iterable[RenderableType]:
    yield from _alarms(status)
    yield _nodes(status)
    yield from _work(status)
    yield ""
    yield from _opened(status)


def _opened(status: Plain) -> Iterable[RenderableType]:
    yield _open(status) if status["incidents"] else Text("nothing is open")


def _work(status: Plain) -> Iterable[RenderableType]:
    """Give the jobs, and what is left for people."""
    if status["jobs"]:
        yield ""
        yield _jobs(status["jobs"])
    yield from (
        Text(f"{job['job']} needs {job['needs']}", "yellow") for job in status["jobs"] if job["needs"]
    )
    yield from (Text(_degraded(job), "yellow") for job in status["jobs"] if _is_degraded(job))
    yield from (
        Text(f"left for people: {line}", "yellow")
        for line in status["left"]
        if not line.startswith("degraded: ")  # that is said of the job, with what it waits for
    )
    yield from (
        Text(f"silenced until {_when(each['until'])} UTC: {each['target']}{_by(each)}", "yellow")
        for each in status["silences"]
    )


def _by(silence: Plain) -> str:
    said = ": ".join(part for part in (silence["who"], silence["reason"]) if part)
    return f" ({said})" if said else ""


def _is_degraded(job: Plain) -> bool:
    return job["stage"] in ("running", "forming") and len(job["seats"]) < job["wanted"]


def _degraded(job: Plain) -> str:
    waits = f", and waits for {job['grows']}" if job["grows"] else ""
    return f"{job['job']} is degraded: it has {len(job['seats'])} of {job['wanted']} ranks{waits}"


def _alarms(status: Plain) -> Iterable[Text]:
    if status["stopped"]:
        yield Text(f"ACTIONS ARE STOPPED by {status['stopped']}", "bold red")
    if status["frozen"]:
        yield Text(f"ACTIONS ARE FROZEN: {status['frozen']}", "bold red")
    if status["observe_only"]:
        yield Text("observe only: nothing is done but paging", "yellow")
    if status["ray_trouble"]:
        yield Text(f"Ray can't be asked: {status['ray_trouble']}", "yellow")
    if trouble := status.get("slack_trouble"):
        yield Text(f"Buttons in Slack do not work: {trouble}; pages go out all the same", "yellow")


def _nodes(status: Plain) -> RenderableType:
    """One row per node: its health, its cordon, and who of the jobs lives there."""
    ranks: dict[str, list[int]] = {}
    standbys: dict[str, list[str]] = {}
    for job in status["jobs"]:
        for seat in job["seats"]:
            ranks.setdefault(seat["node"], []).append(seat["rank"])
        for worker, node in job["standbys"]:
            standbys.setdefault(node, []).append(worker)
    nodes = status["nodes"]
    shown = [node for node in nodes if len(nodes) <= ALL_NODES or _needs_a_look(node)]
    rows = [
        (
            escape(node["node"]),
            _styled("silent" if node["silent"] else node["health"]),
            _seconds(node["report_age_s"]),
            str(node["gpus"]),
            ranges(ranks.get(node["node"], ())),
            str(len(standbys.get(node["node"], ()))),
            escape("\n".join(_remarks(node))),
        )
        for node in shown
    ]
    title = f"{status['cluster']}: {counted(len(nodes), 'node')}"
    title += f", {len(nodes) - len(shown)} of them well and not shown" if len(shown) < len(nodes) else ""
    columns = ("node", "health", "heard s", "gpus", "ranks", "standbys", "remarks")
    return _table(
        columns, rows, title, right=("heard s", "gpus", "standbys"), wide=("node", "ranks", "remarks")
    )


def _remarks(node: Plain) -> Iterator[str]:
    if node["maintained"]:
        yield f"in maintenance for {duration(node['maintained_s'])}: {node['maintained']}"
    if node["cordon"]:
        yield f"cordoned: {node['cordon']}"
    if node["full"]:
        yield f"not empty yet: {node['full']}"
    if node["repairing"]:
        yield f"{node['repairing']} is under way"
    if node["proof"] and node["cordon"]:
        yield node["proof"]
    if node["probation_s"]:
        yield f"on probation for {duration(node['probation_s'])} more"
    yield from node["findings"]


def _needs_a_look(node: Plain) -> bool:
    return bool(node["health"] != "ok" or node["silent"] or node["cordon"] or node["maintained"])


def _jobs(jobs: Sequence[Plain]) -> RenderableType:
    rows = [
        (
            escape(job["job"]),
            _styled(job["stage"]) + "\n[yellow]degraded[/]" * _is_degraded(job),
            str(job["generation"]),
            str(job["step"]) if job["step"] >= 0 else "-",
            str(job["snapshot_step"]) if job["snapshot_step"] >= 0 else "-",
            f"{job['median_step_s']:.3f}" if job["median_step_s"] is not None else "-",
            _of(len(job["seats"]), job["wanted"]),
            str(len(job["standbys"])),
        )
        for job in jobs
    ]
    columns = ("job", "stage", "generation", "step", "snapshot", "s a step", "ranks", "standbys")
    return _table(columns, rows, right=columns[2:])


def _of(seats: int, wanted: int) -> str:
    return f"[{'yellow' if seats < wanted else 'green'}]{seats} of {wanted}[/]"


def _open(status: Plain) -> RenderableType:
    rows = [
        (
            escape(each["incident"]),
            _styled(each["stage"]),
            _styled(each["severity"]),
            _seconds(status["now"] - each["opened"]),
            escape("\n".join(_incident_lines(each))),
        )
        for each in status["incidents"]
    ]
    columns = ("incident", "stage", "severity", "open for s", "what, where and why")
    return _table(columns, rows, "open incidents", right=("open for s",), wide=columns[4:])


def _incident_lines(incident: Plain) -> Iterable[str]:
    where = f": {incident['where']}" if incident["where"] else ""
    yield f"{incident['title']}{where}"
    if incident["why"]:
        yield incident["why"]
    yield from incident["earlier"]
    yield from (f"left: {line}" for line in incident["left"])
    if incident.get("awaits"):
        left_s = incident["over_in_s"]
        yield f"over when {incident['awaits']}" + (f": {left_s:.0f} s to go" if left_s else "")
    if incident["acked_by"]:
        why = f": {incident['acked_why']}" if incident["acked_why"] else ""
        yield f"acknowledged by {incident['acked_by']}{why}"


def _open_row(incident: Plain) -> Sequence[str]:
    known = (incident["incident"], _when(incident["opened"]))
    return (
        *map(escape, known),
        _styled(incident["stage"]),
        escape(f"not diagnosed\n{incident['where']}".rstrip()),
        "",
        "",
    )


def _logbook_row(row: Plain) -> Sequence[str]:
    lost = row["steps_lost"]
    new_step = row["times"].get("new_step")
    stood = None if new_step is None else new_step + row["unseen"]
    evicted = row["evicted"] and f"evicted: {', '.join(row['evicted'])}"
    return (
        escape(row["incident"]),
        _when(row["opened"]),
        _styled(row["stage"]),
        escape(
            "\n".join(filter(None, (row["cause"] or "not diagnosed", row["where"], evicted, *row["others"])))
        ),
        "\n".join(_seconds(each) for each in (stood, *row["again"])),
        "-" if lost is None else str(lost),
    )


def _table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    title: str = "",
    right: Sequence[str] = (),
    wide: Sequence[str] = (),
) -> Table:
    """Make a table for terminals of 80 columns, too: where it is too wide, the `wide` columns wrap."""
    title_ = escape(title) or None
    table = Table(
        title=title_, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0)
    )
    for column in columns:
        side: JustifyMethod = "right" if column in right else "left"
        table.add_column(column, justify=side, no_wrap=bool(wide) and column not in wide, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def _styled(word: str) -> str:
    return f"[{STYLES.get(word, 'bold red')}]{escape(word)}[/]"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _when(instant: float) -> str:
    return time.strftime("%m-%d %H:%M:%S", time.gmtime(instant))
