"""Of a change of a node only those fields are looked at by which it is found, or others decide."""

from typing import Any

import pytest

from sentinel.core.state.cluster import INDEXED, _is_other
from sentinel.core.state.rows import Node


class Read:
    """A node that takes note of the fields that are read."""

    def __init__(self, node: Node) -> None:
        self.fields: set[str] = set()
        self._node = node

    def __getattr__(self, name: str) -> Any:
        if isinstance(known := getattr(Node, name), property):
            return known.fget and known.fget(self)
        self.fields.add(name)
        return getattr(self._node, name)


@pytest.mark.parametrize(
    "what", ["usable", "is_unfit", "may_lack", "may_start", "may_spare", "accused", "lacks_telling"]
)
def test_what_is_asked_of_a_node_hangs_on_fields_whose_changes_are_told(what: str) -> None:
    read = Read(Node("n1"))  # type: ignore[arg-type]
    getattr(read, what)
    assert read.fields
    assert read.fields <= INDEXED | {"findings"}


def test_what_others_depend_on_does_so_too() -> None:
    before, now = Read(Node("n1")), Read(Node("n1"))  # type: ignore[arg-type]
    assert not _is_other(before, now)  # type: ignore[arg-type]
    assert before.fields | now.fields <= INDEXED | {"findings"}
