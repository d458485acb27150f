"""The table of verdicts: what comes out of every scenario and, where that is wrong, what would be right.

`python -m tests.verdicts.golden` compares the core at hand with it; `--write` writes down what it does now.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from sentinel import runbooks
from sentinel.model.policy import Policy
from sentinel.rehearse.reading import read
from sentinel.rehearse.run import rehearse
from sentinel.rehearse.scenario import Scenario
from sentinel.rehearse.verdict import Known, Verdict, place

HERE = Path(__file__).parent
FILE = HERE / "golden.yaml"
FIELD = HERE.parent / "field"
BOOKS = runbooks.load()
MARKS = ("wrong", "right", "unclear")
"""Written by hand: why a verdict is wrong, what a right one has in its place, and what nobody can tell."""

Row = dict[str, Any]


def scenarios() -> Iterator[tuple[str, Scenario]]:
    """Give every scenario with its name in the table."""
    for folder in (FIELD, HERE / "recorded", HERE / "demo"):
        for file in sorted(folder.glob("*.yaml")):
            yield from ((f"{folder.name}/{scenario.id}", scenario) for scenario in read(file))
    yield from ((f"episodes/{scenario.id}", scenario) for scenario in read(HERE / "episodes.yaml"))


def play(scenario: Scenario) -> Row:
    """Play a scenario; gives its row without marks."""
    verdict, _ = rehearse(scenario, Policy(), BOOKS)
    return row(verdict)


def row(verdict: Verdict) -> Row:
    """Say in a few words what came out, without times and without names that a core makes up."""
    causes = [deed.removeprefix("page ") for deed in verdict.order if deed.startswith("page ")]
    pages = zip(causes, verdict.pages, strict=True)
    said = {
        "incidents": [_incident(each) for each in verdict.incidents],
        "evicted": verdict.evicted,
        "refused": sorted({each.what.split()[0] for each in verdict.refused}),
        "pages": [f"{cause or 'unknown'}, {page.severity}" for cause, page in pages],
        "stopped": verdict.stopped,
        "resumes": verdict.resumes,
        "order": verdict.order,
        "trains": verdict.trains,
        "unexpected": [each for each in verdict.wrong if not each.startswith("seconds_max")],
    }
    return {key: value for key, value in said.items() if value not in ([], 0) or value is False}


def _incident(incident: Known) -> str:
    places = ", ".join(sorted(map(place, incident.suspects))) or "nobody"
    return f"{incident.cause or 'not diagnosed'}, blames {places}, {incident.stage}"


def without_marks(known: Mapping[str, Any]) -> Row:
    """Give what came out when the table was written."""
    return {key: value for key, value in known.items() if key not in MARKS}


def is_right(played: Row, known: Mapping[str, Any]) -> bool:
    """Whether a row is what the table says would be right: what `right` does not name may be as it likes."""
    right = known.get("right")
    return bool(right) and all(played.get(key, _nothing(key)) == value for key, value in right.items())


def _nothing(key: str) -> Any:
    return 0 if key == "resumes" else []


def read_table() -> dict[str, Row]:
    """Read the table."""
    loaded: dict[str, Row] = yaml.load(FILE.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
    return loaded


def write_table(rows: Mapping[str, Row]) -> None:
    """Write the table, a row a block and a key a line."""
    FILE.write_text("\n".join(_block(name, row) for name, row in rows.items()))


def _block(name: str, row: Row) -> str:
    lines = [f"{name}:", *_lines({key: value for key, value in row.items() if key != "right"}, "  ")]
    if right := row.get("right"):
        lines += ["  right:", *_lines(right, "    ")]
    return "\n".join([*lines, ""])


def _lines(row: Row, indent: str) -> Iterator[str]:
    return (f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in row.items())


def _judge(known: Mapping[str, Row], played: Mapping[str, Row]) -> Iterator[str]:
    """Say where this core differs from the table, and count."""
    counts = {"as before": 0, "no longer wrong": 0, "differs": 0}
    for name, now in played.items():
        before = known.get(name, {})
        verdict = "differs"
        if is_right(now, before):
            verdict = "no longer wrong"
        elif now == without_marks(before):
            verdict = "as before"
        counts[verdict] += 1
        if verdict == "differs":
            yield f"{name} differs"
            changed = [key for key in {**now, **without_marks(before)} if now.get(key) != before.get(key)]
            yield from (f"  {key}: was {before.get(key)}, is {now.get(key)}" for key in changed)
    yield ", ".join(f"{count} {what}" for what, count in counts.items())


def main(*, write: bool) -> None:
    """Play everything; compare with the table, or write it and keep the marks."""
    known = read_table() if FILE.exists() else {}
    played = {name: play(scenario) for name, scenario in scenarios()}
    print("\n".join(_judge(known, played)))
    if write:
        marks = {name: {key: row[key] for key in MARKS if key in row} for name, row in known.items()}
        write_table({name: row | marks.get(name, {}) for name, row in played.items()})


if __name__ == "__main__":
    main(write="--write" in sys.argv[1:])
