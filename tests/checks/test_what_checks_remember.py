import json
import os
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.checks import _kept, _links
from sentinel.checks._kept import Counter, counted, remembered


class Memory(msgspec.Struct):
    seen: list[str] = []


def test_what_is_remembered_is_there_for_the_next_prober(tmp_path: Path) -> None:
    for expected in ([], ["a"], ["a", "a"]):
        with remembered(str(tmp_path / "checks"), "x", Memory) as memory:
            assert memory.seen == expected
            memory.seen.append("a")


def test_without_a_folder_nothing_is_kept() -> None:
    for _ in range(2):
        with remembered("", "x", Memory) as memory:
            assert memory.seen == []
            memory.seen.append("a")


def test_what_did_not_change_is_not_written(tmp_path: Path) -> None:
    for _ in range(2):
        with remembered(str(tmp_path), "x", Memory) as memory:
            memory.seen = ["a"]
        inode = (tmp_path / "x.json").stat().st_ino
    with remembered(str(tmp_path), "x", Memory):
        pass
    assert (tmp_path / "x.json").stat().st_ino == inode


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda good: b"", id="empty"),
        pytest.param(lambda good: good[:-3], id="cut off"),
        pytest.param(lambda good: good.replace(b"[", b"7, ["), id="no JSON"),
        pytest.param(lambda good: good.replace(b'["a"]', b"7"), id="another type"),
        pytest.param(lambda good: good.replace(b"a", b"\xff"), id="no text"),
        pytest.param(lambda good: good.split(b"\n")[0] + b"\n" + b"[" * 100_000, id="very deep"),
        pytest.param(lambda good: b"another boot" + good[good.index(b"\n") :], id="of another boot"),
    ],
)  # fmt: skip
def test_what_is_damaged_or_of_another_boot_is_as_good_as_none(tmp_path: Path, damage: object) -> None:
    with remembered(str(tmp_path), "x", Memory) as memory:
        memory.seen.append("a")
    path = tmp_path / "x.json"
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with remembered(str(tmp_path), "x", Memory) as memory:
        assert memory.seen == []
        memory.seen.append("b")
    assert json.loads(path.read_bytes().split(b"\n", 1)[1]) == {"seen": ["b"]}


class Counters(msgspec.Struct):
    counters: dict[str, Counter] = {}


@pytest.mark.parametrize(("pause", "grew"), [(_kept.GAP_S - 30.0, 5), (_kept.GAP_S + 30.0, 0), (-9999.0, 0)])
def test_what_a_counter_grew_by_while_nobody_looked_is_not_new(
    tmp_path: Path, pause: float, grew: int
) -> None:
    def look(value: int, now: float) -> int:
        with remembered(str(tmp_path), "x", Counters) as memory:
            counter, _ = counted(memory.counters, "down", value, now)
            return counter.within(_kept.HOUR_S, now)

    assert [look(3, 1000.0), look(4, 1005.0)] == [0, 1]
    then = time.time() - pause
    os.utime(tmp_path / "x.json", (then, then))
    assert look(9, 2000.0) == 1 + grew
    assert look(10, 2005.0) == 2 + grew, "and it goes on from there"


def test_a_file_says_that_somebody_looks_also_where_nothing_changes(tmp_path: Path) -> None:
    for age in (0.0, 60.0):
        with remembered(str(tmp_path), "x", Memory) as memory:
            memory.seen = ["a"]
        assert time.time() - (tmp_path / "x.json").stat().st_mtime < 30.0
        then = time.time() - (age or 60.0)
        os.utime(tmp_path / "x.json", (then, then))


def test_a_folder_that_can_not_be_written_ends_no_check(tmp_path: Path) -> None:
    (tmp_path / "checks").write_text("a file")
    with remembered(str(tmp_path / "checks"), "x", Memory) as memory:
        memory.seen.append("a")


STEPS = st.lists(st.tuples(st.floats(0.1, 2000.0), st.integers(0, 50)), max_size=60)


@given(STEPS)
def test_a_counter_grows_by_what_it_grew(steps: list[tuple[float, int]]) -> None:
    counters: dict[str, Counter] = {}
    now, value = 1000.0, 7
    counter, growth = counted(counters, "x", value, now)
    assert growth == 0
    past: list[tuple[float, int]] = []
    for seconds, more in steps:
        now, value = now + seconds, value + more
        counter, growth = counted(counters, "x", value, now)
        assert growth == more
        past.append((now, more))
        for window in (60.0, 300.0, _kept.HOUR_S):
            # entries of ten seconds lie where the first of them was
            surely = sum(more for at, more in past if at > now - window + 10.0)
            at_most = sum(more for at, more in past if at > now - window)
            assert surely <= counter.within(window, now) <= at_most
    assert len(counter.grown) <= _kept.HOUR_S / 10.0 + 1


@given(st.lists(st.integers(0, 2**64), max_size=30))
def test_whatever_a_counter_does_it_never_grew_by_less_than_nothing(values: list[int]) -> None:
    counters: dict[str, Counter] = {}
    for step, value in enumerate(values):
        counter, growth = counted(counters, "x", value, float(step))
        assert growth >= 0
        assert counter.within(_kept.HOUR_S, float(step)) >= 0


LOOKS = st.lists(
    st.tuples(st.floats(1.0, 120.0), st.sampled_from([None, 100.0, 400.0]), st.integers(0, 3)), max_size=40
)


@given(LOOKS)
def test_a_link_has_no_trouble_without_a_drop(looks: list[tuple[float, float | None, int]]) -> None:
    links: dict[str, _links.Link] = {}
    now = 1000.0
    for seconds, _, _ in looks:
        now += seconds
        past = _links.remember(links, "x", 400.0, 0, now)
        assert list(_links.troubles(past, 400.0, "Gb/s", "")) == []


@given(LOOKS)
def test_a_link_flaps_only_after_two_drops_and_is_down_only_after_it_was_up(
    looks: list[tuple[float, float | None, int]],
) -> None:
    links: dict[str, _links.Link] = {}
    now, drops, was_up = 1000.0, 0, False
    for seconds, rate, downed in looks:
        now += seconds
        past = _links.remember(links, "x", rate, downed, now)
        drops += (downed + 1) * was_up
        was_up = was_up or rate is not None
        codes = {each.code for each in _links.troubles(past, rate, "Gb/s", "")}
        assert "flapping" not in codes or drops >= _links.FLAPS
        assert "down" not in codes or (was_up and rate is None)
        assert "slow" not in codes or rate == 100.0
        assert not (codes and not was_up)
