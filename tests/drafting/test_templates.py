"""Patterns of lines: each matches the line that it came from, and the same line of another time and place."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.drafting.templates import Templates, masked, pattern_of


@pytest.mark.parametrize(
    ("line", "other", "foreign"),
    [
        (
            "NVRM: GPU0 _kgspIsHeartbeatTimedOut: Heartbeat timed out, diff 300 now 700",
            "NVRM: GPU7 _kgspIsHeartbeatTimedOut: Heartbeat timed out, diff 12 now 7000",
            "NVRM: GPU7 _kgspLogRpcTimeout: RPC timed out, diff 12 now 7000",
        ),
        (
            "mlx5_core 0000:03:00.1: poll_health: device's health compromised on n1",
            "mlx5_core 0000:c1:00.0: poll_health: device's health compromised on n23",
            "mlx5_core 0000:c1:00.0: poll_health: device recovered on n23",
        ),
        (
            "ConnectionResetError: [Errno 104] peer 10.0.0.3:2222 has left",
            "ConnectionResetError: [Errno 104] peer 10.1.2.33:9 has left",
            "ConnectionResetError: [Errno 104] peer left",
        ),
    ],
)
def test_a_pattern_matches_another_time_and_place_and_no_other_line(
    line: str, other: str, foreign: str
) -> None:
    pattern = pattern_of(masked(line, ["n1", "n23"]))
    assert re.search(pattern, line)
    assert re.search(pattern, other)
    assert not re.search(pattern, foreign)


def test_words_in_which_like_lines_differ_are_wild() -> None:
    lines = [f"loader of tenant {name} gave up waiting for shards" for name in ("blue", "green", "red")]
    pattern = pattern_of(Templates(lines).of(lines[0]))
    assert re.search(pattern, "loader of tenant violet gave up waiting for shards")
    assert not re.search(pattern, "loader of tenant violet goes on")


def test_what_says_too_little_is_no_pattern() -> None:
    assert pattern_of(masked("0x1234 17 n1", ["n1"])) == ""
    assert pattern_of("<*> <*> out of") == ""


@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=200), st.sampled_from(["n1", "a.b"])
)
def test_every_pattern_matches_the_line_that_it_is_of(line: str, node: str) -> None:
    pattern = pattern_of(masked(line, [node]))
    assert not pattern or re.search(pattern, line)
