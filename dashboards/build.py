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
    """Give the dashboards of this release, without a need for what builds them."""
    for name in NAMES:
        yield json.loads((FILES / f"{name}.json").read_text(encoding="utf-8"))


def built() -> Mapping[str, str]:
    """Build all dashboards: the text of each file by its name."""
    return {f"{name}.json": _text(name) for name in NAMES}


def stale(folder: Path = FILES) -> list[str]:
    """Say which files of a folder are not what would be built."""
    return [name for name, text in built().items() if _read(folder / name) != text]


def write(folder: Path = FILES) -> list[str]:
    """Write the files that are stale, and say which. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    texts, wrong = built(), stale(folder)
    for name in wrong:
        (folder / name).write_text(texts[name], encoding="utf-8")
    return wrong


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
