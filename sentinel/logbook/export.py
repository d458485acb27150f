"""The logbook's rows for other programs: JSON Lines, and CSV for tables."""

import csv
import dataclasses
import io
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from sentinel.logbook.row import STAGES, Row

FORMS = ("jsonl", "csv")
COLUMNS = (
    *("incident", "opened", "stage", "cause", "title", "where", "job", "nodes", "evicted"),
    *("steps_lost", "gpu_seconds_lost", "refused", "part_of"),
    *(f"{stage}_s" for stage in STAGES),
)
"""Of the CSV: `…_s` are seconds after it was opened; several names stand in one cell with spaces between."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a text begins that a spreadsheet would compute."""


def lines(rows: Iterable[Row], form: str) -> Iterator[str]:
    """Give each line of the export, without its end; `form` is one of `FORMS`."""
    if form == "csv":
        yield _csv(COLUMNS)
        yield from (_csv(_cells(row)) for row in rows)
    else:
        for row in rows:
            yield json.dumps({"opened_utc": _utc(row), **dataclasses.asdict(row)})


def _cells(row: Row) -> Iterator[object]:
    nodes = sorted({node for node, _, _ in row.suspects if node})
    yield from (row.incident, _utc(row), row.stage, row.cause, row.title, row.where, row.job)
    yield from (" ".join(nodes), " ".join(row.evicted))
    yield from (row.steps_lost, row.gpu_seconds_lost, row.refused, row.part_of)
    yield from (row.times.get(stage) for stage in STAGES)


def _utc(row: Row) -> str:
    return datetime.fromtimestamp(row.opened, UTC).isoformat(timespec="milliseconds")


def _csv(cells: Iterable[object]) -> str:
    """Write one line; a text is never a formula, and stays on its line."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow([_cell(each) for each in cells])
    return text.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    line = " ".join(value.split())
    return f"'{line}" if line.startswith(_FORMULA) else line
