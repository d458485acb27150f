"""Measurements as a Markdown table, each contender beside torchrun."""

import dataclasses
import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.recovery.contender import Measurement, Trial

HEADER = (
    "| fault | timeouts | contender | runs | median s | min s | max s | steps lost, worst | processes kept "
    "| ÷ torchrun |\n|---|---|---|---:|---:|---:|---:|---:|---:|---:|"
)


@dataclass(frozen=True, slots=True)
class Result:
    """One contender's measurement of one trial."""

    contender: str
    trial: Trial
    measured: Measurement


def remember(result: Result, path: Path) -> None:
    """Append one result as a JSON line, so that a long comparison can be made in pieces."""
    with path.open("a") as lines:
        lines.write(json.dumps(dataclasses.asdict(result)) + "\n")


def recall(path: Path) -> list[Result]:
    """Read the results of earlier pieces; none when the file is not there yet."""
    if not path.exists():
        return []
    kept = [json.loads(line) for line in path.read_text().splitlines()]
    return [Result(k["contender"], Trial(**k["trial"]), Measurement(**k["measured"])) for k in kept]


def render(results: Sequence[Result]) -> str:
    """Give the table, one row for each fault, timeout and contender, then a line for each oddity."""
    groups: dict[tuple[str, float | None], dict[str, list[Result]]] = {}
    for result in results:
        group = groups.setdefault((result.trial.fault, result.trial.timeout_s), {})
        group.setdefault(result.contender, []).append(result)
    rows = [row for group in groups.values() for row in _rows(group)]
    return "\n".join((HEADER, *rows, *_notes(results)))


def _rows(group: Mapping[str, Sequence[Result]]) -> Iterable[str]:
    medians = {name: statistics.median(_seconds(results)) for name, results in group.items()}
    for name, results in group.items():
        trial = results[0].trial
        lost = [result.measured.steps_lost for result in results if result.measured.steps_lost is not None]
        kept = [result.measured.pids_kept for result in results if result.measured.seconds is not None]
        cells = (
            trial.fault,
            "their defaults" if trial.timeout_s is None else f"{trial.timeout_s:g} s",
            name,
            str(len(results)),
            *(_cell(value, trial.cap_s) for value in _summary(_seconds(results))),
            str(max(lost)) if lost else "-",
            str(min(kept)) if kept else "-",
            _ratio(medians[name], medians.get("torchrun")),
        )
        yield f"| {' | '.join(cells)} |"


def _seconds(results: Iterable[Result]) -> list[float]:
    return [float("inf") if (s := result.measured.seconds) is None else s for result in results]


def _summary(seconds: Sequence[float]) -> tuple[float, float, float]:
    return statistics.median(seconds), min(seconds), max(seconds)


def _cell(seconds: float, cap_s: float) -> str:
    return f"> {cap_s:g}" if seconds == float("inf") else f"{seconds:.2f}"


def _ratio(median: float, reference: float | None) -> str:
    if reference is None or float("inf") in (median, reference):
        return "-"
    return f"{median / reference:.2f}"


def _notes(results: Iterable[Result]) -> Iterable[str]:
    odd = [result for result in results if result.measured.note]
    if odd:
        yield ""
    for result in odd:
        yield f"- {result.contender}, {result.trial.fault}, seed {result.trial.seed}: {result.measured.note}"
