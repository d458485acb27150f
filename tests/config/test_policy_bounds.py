"""A policy that would switch a protection off is refused, in one line that says what is allowed."""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.config import ConfigError, load
from sentinel.model.policy import Policy, bounds, contradictions

DEFAULTS = dataclasses.asdict(Policy())
NUMBERS = [name for name, value in DEFAULTS.items() if type(value) in (int, float)]
ORDERED = ["silent_s", "broken_s", "grace_s", "stall_s", "slow_phase_s", "cut_s", "unheard_s"]
ORDERED += ["flap_pause_s", "flap_pause_limit_s"]

MAY_BE_NONE = {
    "evict_share": "one node may be evicted all the same",
    "evictions_per_hour": "then people evict",
    "failures_per_node_day": "then the fewest nodes have it in common",
    "idle_jitter": "then nodes that were measured together are due together, a few at a time as ever",
    "place_s": "then it is placed on the nodes that are there",
    "probation_s": "then a node that has proved that it is well is as any other",
    "warm_up_steps": "then first steps count for the pace, too",
}
"""Numbers whose 0 switches no protection off."""


def loaded(**numbers: Any) -> Policy:
    return load(
        env={f"SENTINEL_POLICY__{name.upper()}": json.dumps(value) for name, value in numbers.items()}
    ).policy


def refused(**numbers: Any) -> str:
    with pytest.raises(ConfigError) as error:
        loaded(**numbers)
    assert "\n" not in str(error.value)
    return str(error.value)


def at_bound(name: str, end: int) -> float:
    return bounds(name)[end]


def test_every_number_has_bounds_around_its_default() -> None:
    others = set(DEFAULTS) - set(NUMBERS)
    assert others == {"ending_signals", "idle_probes", "observe_only", "preflight", "repair"}
    for name in NUMBERS:
        least, most = bounds(name)
        assert least <= DEFAULTS[name] <= most, name
        assert type(least) is type(most) is type(DEFAULTS[name]), name
        assert math.isfinite(most), name


def test_only_where_it_is_said_why_may_a_number_be_none() -> None:
    assert {name for name in NUMBERS if at_bound(name, 0) <= 0} == set(MAY_BE_NONE)


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_beyond_its_bounds_is_refused_and_named(name: str) -> None:
    least, most = bounds(name)
    small = 1 if type(least) is int else 1e-6
    for wrong in {least - small, most + small, -1, most * 1000 + 1, *([] if name in MAY_BE_NONE else [0])}:
        assert f"policy.{name}: input should be" in refused(**{name: wrong})


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("wrong", ["nan", "inf", "-inf", "true", "'2'", "[2]"])
def test_what_is_no_number_is_refused_and_named(tmp_path: Path, name: str, wrong: str) -> None:
    file = tmp_path / "sentinel.toml"
    file.write_text(f"[policy]\n{name} = {wrong}\n")
    with pytest.raises(ConfigError, match=rf"policy\.{name}: ") as error:
        load(file, {})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        pytest.param(
            {"silent_s": 5.0}, "silent_s, 5.0, must be below broken_s, 4.5: ", id="blamed too early"
        ),
        pytest.param(
            {"broken_s": 2.5}, "silent_s, 2.5, must be below broken_s, 2.5: ", id="at the same time"
        ),
        pytest.param(
            {"grace_s": 2.0}, "silent_s, 2.5, must be below grace_s, 2.0: ", id="silent at the start"
        ),
        pytest.param(
            {"stall_s": 900.0}, "stall_s, 900.0, must be below slow_phase_s", id="slow phases are short"
        ),
        pytest.param({"unheard_s": 30.0}, "cut_s, 65.0, must be below unheard_s, 30.0: ", id="never cut off"),
        pytest.param(
            {"flap_pause_s": 90.0},
            "flap_pause_s, 90.0, must be below flap_pause_limit_s, 60.0: ",
            id="pauses get shorter",
        ),
    ],
)
def test_numbers_that_contradict_each_other_are_refused(numbers: dict[str, float], says: str) -> None:
    assert f"environment: policy: {says}" in refused(**numbers)


@given(st.fixed_dictionaries({name: st.floats(*bounds(name)) for name in ORDERED}))
def test_a_policy_within_its_bounds_is_taken_as_it_is_or_its_contradiction_is_told(
    numbers: dict[str, float],
) -> None:
    wanted = dataclasses.replace(Policy(), **numbers)
    if wrong := next(contradictions(wanted), ""):
        assert refused(**numbers) == f"environment: policy: {wrong}"
    else:
        assert loaded(**numbers) == wanted


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("end", [0, 1], ids=["least", "most"])
def test_a_bound_itself_is_allowed(name: str, end: int) -> None:
    at = {name: at_bound(name, end)}
    if not list(contradictions(dataclasses.replace(Policy(), **at))):
        assert getattr(loaded(**at), name) == at[name]
    else:
        assert name in ORDERED
