from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_node import Node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    node = Node(tmp_path)
    yield node
    node.close()
