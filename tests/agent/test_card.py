"""An agent's card is read whole or not at all."""

import json
from pathlib import Path

import pytest

from sentinel.adapters.agent_card import Card, read, write

CARD = Card("n1", 401, 402, 7001, 7002)


def test_what_was_left_is_read(tmp_path: Path) -> None:
    write(tmp_path, CARD)
    assert read(tmp_path) == CARD


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="nothing"),
        pytest.param('{"node": "n1", "pid": 4', id="half of one"),
        pytest.param("[" * 100_000, id="deeply nested"),
        pytest.param("[401]", id="another shape"),
        pytest.param(json.dumps({"node": "n1", "pid": 1, "prober_pid": 2, "metrics_port": 3}), id="no port"),
        pytest.param(
            json.dumps({"node": "n1", "pid": 1, "prober_pid": 2, "snapshot_port": 70_000, "metrics_port": 3}),
            id="a port that is none",
        ),
    ],
)
def test_what_is_no_card_is_none(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "agent.json").write_text(content)
    assert read(tmp_path) is None


def test_a_card_of_a_newer_agent_is_read(tmp_path: Path) -> None:
    write(tmp_path, CARD)
    path = tmp_path / "agent.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "blue"}))
    assert read(tmp_path) == CARD
