"""How much a test tries: what `make test` has time for, or what `make soak` has."""

from typing import TypeVar

from hypothesis import settings

DEEP = "deep"
"""The profile of Hypothesis that `make soak` loads."""
T = TypeVar("T")


def tries(few: T, many: T) -> T:
    """Say what a test marked `soak` tries, such as how many inputs: `few`, or in the deep profile `many`."""
    return many if settings.get_current_profile_name() == DEEP else few
