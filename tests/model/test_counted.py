"""What is counted is written as people write it: 1 rank, 2 ranks."""

import ast
import re
from itertools import pairwise
from pathlib import Path

import pytest

from sentinel.model.counted import counted

SENTINEL = Path(__file__).parents[2] / "sentinel"
TOLD = [path for room in ("core", "logbook", "web") for path in sorted((SENTINEL / room).rglob("*.py"))]
NOUNS = re.compile(
    r" ([a-z]+ )?(ranks|nodes|GPUs|workers|standbys|processes|times|steps|tries|attempts|facts)\b"
)
OF_ALL = re.compile(r"\b(of|all( of its)?|other) $")
"""`1 of 2 nodes`, `all 4 ranks`: there the number is a size, of which one is seldom."""


@pytest.mark.parametrize(
    ("number", "noun", "said"),
    [
        (1, "rank", "1 rank"),
        (0, "rank", "0 ranks"),
        (2, "usable node", "2 usable nodes"),
        (2, "process", "2 processes"),
        (3, "try", "3 tries"),
        (2, "day", "2 days"),
    ],
)
def test_a_noun_follows_its_number(number: int, noun: str, said: str) -> None:
    assert counted(number, noun) == said


def bare_counts(source: str) -> list[str]:
    """Give the places where a plural follows a number as it is."""
    found = []
    for node in ast.walk(ast.parse(source)):
        parts = node.values if isinstance(node, ast.JoinedStr) else []
        for before, (value, after) in zip([ast.Constant(""), *parts], pairwise(parts), strict=False):
            if not (isinstance(value, ast.FormattedValue) and isinstance(after, ast.Constant)):
                continue
            said = str(before.value) if isinstance(before, ast.Constant) else ""
            if NOUNS.match(str(after.value)) and not OF_ALL.search(said):
                found.append(f"line {value.lineno}: {ast.unparse(value)}{after.value}")
    return found


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(SENTINEL))) for path in TOLD])
def test_nobody_is_told_of_1_ranks(path: Path) -> None:
    assert bare_counts(path.read_text()) == []


def test_a_bare_count_is_found() -> None:
    assert len(bare_counts('f"needs {world} ranks"')) == 1
    assert bare_counts('f"has {here} of {world} ranks"') == []
