"""How ranks' processes end: asked to, by themselves, or after a peer whom they follow."""

from collections.abc import Sequence

from sentinel.model.fact import RankExited
from sentinel.model.policy import Policy
from sentinel.model.report import DONE, UNKNOWN_END

SHELL_OFFSET = 128
"""A shell or a handler that passes a signal on exits with its number and this."""
SIGNAL = "signal "


def was_asked_to_end(fact: RankExited, policy: Policy) -> bool:
    """Say whether somebody asked the process to end, as a scheduler or a launcher does."""
    asked = policy.ending_signals
    return any(fact.how in (f"{SIGNAL}{number}", f"exit {SHELL_OFFSET + number}") for number in asked)


def first_to_end(exits: Sequence[RankExited], policy: Policy, *, all_gone: bool) -> list[RankExited]:
    """Give who ended first, of a gang that somebody else started; nobody if that was no failure.

    The others follow: their launcher asks them to end, or they raise for the loss of their peer. If the
    first was asked, all were. If all are gone and of none is known how, they may have been done.
    """
    first = [fact for fact in exits if fact.at == exits[0].at]
    if all_gone and all(fact.how in (UNKNOWN_END, DONE) for fact in exits):
        return []
    return [fact for fact in first if fact.how != DONE and not was_asked_to_end(fact, policy)]
