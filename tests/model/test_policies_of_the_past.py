"""Decisions of the past are read by the numbers that made them, whatever a policy may hold today."""

from dataclasses import replace

import pytest

from sentinel.model.codec import Plain, from_plain, to_plain
from sentinel.model.policy import Policy, bounds


@pytest.mark.parametrize(
    ("plain", "policy"),
    [
        pytest.param({}, Policy(), id="of before all of them"),
        pytest.param({"silent_s": 3.0}, Policy(silent_s=3.0), id="of an older release, with fewer numbers"),
        pytest.param({"silent_s": 3.0, "fresh_s": 1.0}, Policy(silent_s=3.0), id="of a newer one, with more"),
        pytest.param({"stall_s": 0.0}, Policy(stall_s=0.0), id="with what nobody may set any more"),
    ],
)
def test_a_policy_of_another_release_is_read(plain: Plain, policy: Policy) -> None:
    assert from_plain(Policy, plain) == policy


def test_a_policy_is_written_flat_and_read_as_it_was() -> None:
    policy = replace(Policy(), silent_s=3.0, ending_signals=(15,))
    plain = to_plain(policy)
    assert plain["silent_s"] == 3.0
    assert not any(isinstance(value, dict) for value in plain.values())
    assert from_plain(Policy, plain) == policy


def test_what_is_no_number_has_no_bounds() -> None:
    with pytest.raises(KeyError):
        bounds("observe_only")
