"""A record that can't be read, or contradicts what it said, is not believed until it is whole again."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_node import Node

from sentinel.checks.heartbeat import judge
from sentinel.heartbeat import HeartbeatWriter
from sentinel.model.report import RankBeat
from sentinel.runtime.agent import watched
from sentinel.runtime.agent.ranks import Ranks

NEVER = 3600.0


@pytest.fixture
def ranks(node: Node) -> Ranks:
    return Ranks(node.memory / "beats")


@pytest.fixture
def writer(node: Node, ranks: Ranks) -> Iterator[HeartbeatWriter]:
    """One that mends nothing by itself, so that what its record says is seen."""
    path = node.memory / "beats" / "w1.beat"
    beats = HeartbeatWriter(path, job="moe", worker="w1", gpu=0, beat_interval=NEVER)
    beats.place(1, 3, 0)
    beats.enqueue()
    beats.step_done(462)
    yield beats
    beats._closed.set()


def look(ranks: Ranks) -> RankBeat:
    ranks.refresh()
    [beat] = ranks.beats()
    return beat


def put(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)


def codes(beat: RankBeat) -> list[str]:
    return [finding.code for finding in judge([beat])]


def test_a_record_that_is_cut_is_not_believed_and_what_was_known_stands(
    ranks: Ranks, writer: HeartbeatWriter
) -> None:
    assert (look(ranks).step, look(ranks).damaged, codes(look(ranks))) == (462, "", [])
    os.truncate(writer.path, 100)
    beat = look(ranks)
    assert (beat.step, beat.damaged, codes(beat)) == (462, "is no heartbeat record", ["record-damaged"])
    writer._mend()
    beat = look(ranks)
    assert (beat.step, codes(beat)) == (462, ["record-damaged"])
    assert "wrote it anew" in beat.damaged


def test_one_that_was_written_anew_is_believed_again_after_a_while(
    ranks: Ranks, writer: HeartbeatWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(ranks)
    os.truncate(writer.path, 0)
    writer._mend()
    assert look(ranks).damaged
    monkeypatch.setattr(watched, "_MENDED_S", 0.0)
    assert (look(ranks).damaged, codes(look(ranks))) == ("", [])


@pytest.mark.parametrize("counts", ["step", "collectives", "generation"])
def test_a_record_that_goes_back_is_not_believed(ranks: Ranks, writer: HeartbeatWriter, counts: str) -> None:
    before = writer.path.read_bytes()
    if counts == "step":
        writer.step_done(463)
    elif counts == "collectives":
        writer.enqueue()
    else:
        writer.place(1, 4, 0)
    now = look(ranks)
    put(writer.path, before)
    assert look(ranks).damaged == "", "a writer that takes another place goes back for a moment"
    beat = look(ranks)
    assert (beat.step, beat.enqueued, beat.generation) == (now.step, now.enqueued, now.generation)
    assert "back" in beat.damaged or "older" in beat.damaged
    writer._mend()
    assert "wrote it anew" in look(ranks).damaged


def test_a_beat_of_a_time_to_come_is_not_believed(ranks: Ranks, writer: HeartbeatWriter) -> None:
    look(ranks)
    writer._put(1, writer._words[1] + 3_600_000_000_000)
    look(ranks)
    assert look(ranks).damaged == "its beat is of a time to come"


def test_a_new_place_and_a_lower_step_in_it_are_believed(ranks: Ranks, writer: HeartbeatWriter) -> None:
    look(ranks)
    writer.place(0, 4, 0)
    writer.step_done(455)
    for _ in range(3):
        assert (look(ranks).step, look(ranks).damaged) == (455, "")


def test_a_record_that_was_exchanged_is_read_from_its_new_file(
    ranks: Ranks, writer: HeartbeatWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    look(ranks)
    writer.path.unlink()
    writer._mend()
    writer.step_done(463)
    monkeypatch.setattr(watched, "_MENDED_S", 0.0)
    assert (look(ranks).step, look(ranks).damaged) == (463, "")
