"""Trees of small files, as /sys and /proc are, from captures and changed by a test."""

from collections.abc import Mapping
from pathlib import Path

import yaml

CAPTURES = Path(__file__).parents[1] / "captures" / "sysfs"


def captured(name: str) -> dict[str, str]:
    """Give a capture: path → what the file holds."""
    return dict(yaml.safe_load((CAPTURES / f"{name}.yaml").read_text(encoding="utf-8")))


def plant(root: Path, files: Mapping[str, str | bytes | None]) -> Path:
    """Write files below a root; what is None is removed."""
    for name, content in files.items():
        path = root / name
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode())
    return root
