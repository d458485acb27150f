"""The table "to change X, open Y" of the architecture: what it names is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
TOLD = 20
"""Changes that the table has at least."""
PLACES = (ROOT / "sentinel", ROOT)


def rows() -> Iterator[tuple[str, str]]:
    """Give what is to be changed, and where."""
    table = TEXT.partition("### To change X, open Y")[2].partition("\n## ")[0]
    for line in table.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| ") and len(cells) == 2 and cells[1] != "open":
            yield cells[0], cells[1]


ROWS = [pytest.param(where, id=what) for what, where in rows()]


def found(name: str, before: Path | None) -> Path | None:
    """Give the file or folder that a name stands for: a bare one lies where the one before it does."""
    folders = [*PLACES, *([before, *before.parents] if before is not None else [])]
    return next((folder / name for folder in folders if (folder / name).exists()), None)


def is_path(name: str) -> bool:
    return name.endswith((".py", "/", ".md")) and "<" not in name and "*" not in name


def test_it_has_many() -> None:
    assert len(ROWS) >= TOLD


@pytest.mark.parametrize("where", ROWS)
def test_what_a_row_names_is_there(where: str) -> None:
    names = re.findall(r"`([^`]+)`", where)
    before: Path | None = None
    files: list[Path] = []
    for name in filter(is_path, names):
        place = found(name, before)
        assert place is not None, f"no file {name}"
        before = place if place.is_dir() else place.parent
        files.append(place)
    texts = [text for file in files for text in (file.glob("*.*") if file.is_dir() else [file])]
    source = "\n".join(text.read_text() for text in texts if text.suffix in (".py", ".md"))
    words = [name for name in names if re.fullmatch(r"_?[a-z]\w*", name)]
    missing = [word for word in words if files and word not in source]
    assert not missing, f"none of its files has {missing}"
