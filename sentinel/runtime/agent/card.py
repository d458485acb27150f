"""The agent's card: pid and ports, where people, the demo and the next agent find them."""

import contextlib
import json
from pathlib import Path

_NAME = "agent.json"


def write(memory: Path, **values: object) -> None:
    """Leave the card; whoever reads it meets the old one or the new one, never half of one."""
    path = memory / _NAME
    draft = path.with_suffix(".new")
    with contextlib.suppress(OSError):  # a full memory directory must not end the watching
        draft.write_text(json.dumps(values))
        draft.replace(path)


def snapshot_port(memory: Path) -> int:
    """Give the port of the last agent's snapshot holder, 0 when no agent left one."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        port: int = json.loads((memory / _NAME).read_text())["snapshot_port"]
        return port
    return 0
