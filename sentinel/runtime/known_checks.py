"""Settings that name checks: one that there is not could never pass."""

from sentinel import config
from sentinel.checks import load_collective


def known_checks(settings: config.Settings) -> None:
    """See that each check that a node has to pass is known here. Raises ConfigError."""
    known = load_collective()
    for name in settings.policy.preflight:
        if name not in known:
            there = ", ".join(sorted(known))
            raise config.ConfigError(f"policy.preflight: no collective check {name!r:.80}; known are {there}")
