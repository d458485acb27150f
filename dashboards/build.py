"""Dashboards as the files that Grafana reads; the committed ones are these."""

import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

Document: TypeAlias = dict[str, Any]
"""A dashboard as Grafana's JSON."""
FILES = Path(__file__).parent / "json"
NAMES = ("start", "run", "fleet", "node", "network", "incidents", "watcher")
"""In the order in which people ask."""
IN_A_MENU = "inControlsMenu"


def committed() -> Iterator[Document]:
    """Give the dashboards of this release."""
    return map(json.loads, files().values())


def files() -> Mapping[str, str]:
    """Give the text of each committed file by its name; what builds them is not needed."""
    return {f"{name}.json": _read(FILES / f"{name}.json") for name in NAMES}


def built() -> Mapping[str, str]:
    """Build all dashboards: the text of each file by its name."""
    return {f"{name}.json": _text(name) for name in NAMES}


def write(texts: Mapping[str, str], folder: Path = FILES) -> list[str]:
    """Write those files that differ, and say which. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = [name for name, text in texts.items() if _read(folder / name) != text]
    for name in changed:
        (folder / name).write_text(texts[name], encoding="utf-8")
    return changed


def stale() -> list[str]:
    """Say which committed files are not what would be built."""
    there = files()
    return [name for name, text in built().items() if there[name] != text]


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _text(name: str) -> str:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    made = importlib.import_module(f"sentinel.dashboards.{name}").BOARD.build()
    for number, panel in enumerate(made.panels, 1):
        panel.id_val = number
    for each in (*made.links, *made.annotations.list_val):
        each.placement = None  # the library hides them in a menu
    return JSONEncoder(sort_keys=True, indent=1).encode(made) + "\n"
