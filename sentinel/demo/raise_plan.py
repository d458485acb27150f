"""When the demo's trainer raises: a plan in a file, so that only ranks load a trainer."""

import json
from pathlib import Path
from typing import Any

FILE = "raise.json"
"""Lies beside the trainer's settings: `{"step": 40, "rank": 1}`, or `{"step": 40, "node": "n2"}`."""


def write(folder: Path, plan: dict[str, Any]) -> None:
    """Put a plan there at once: whoever reads it finds it whole."""
    draft = folder / f"{FILE}.new"
    draft.write_text(json.dumps(plan))
    draft.replace(folder / FILE)


def read(folder: Path) -> dict[str, Any]:
    """Give the plan; empty while there is none."""
    try:
        plan: dict[str, Any] = json.loads((folder / FILE).read_text())
    except FileNotFoundError:
        return {}
    return plan
