"""docs/rehearse.md names every step, every expectation and every number of the cluster."""

import re
from pathlib import Path

import msgspec
import pytest

from sentinel.rehearse.scenario import Cluster, Expect
from sentinel.rehearse.steps import KEYS

PAGE = Path(__file__).parents[2] / "docs" / "rehearse.md"
FIELDS = [field.name for noun in (Cluster, Expect) for field in msgspec.structs.fields(noun)]


@pytest.mark.parametrize("word", [*KEYS, *FIELDS])
def test_it_is_in_a_table(word: str) -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    assert any(re.search(rf"`{word}\b", row) for row in rows)
