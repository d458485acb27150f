"""How much a test tries: what `make test` has time for, or what `make soak` has."""

from hypothesis import settings

DEEP = "deep"
"""The profile of Hypothesis that `make soak` loads."""


def tries(few: int, many: int) -> int:
    """Say how many inputs a test marked `soak` tries: `few`, or in the deep profile `many`."""
    return many if settings.get_current_profile_name() == DEEP else few
