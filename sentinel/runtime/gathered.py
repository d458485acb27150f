"""Facts that come in one turn of the loop are committed together: a commit costs more than a decision."""

import asyncio
from collections.abc import Callable, Sequence

from sentinel.model.fact import Fact, Outcome
from sentinel.runtime.failpoints import failpoint

AT_ONCE = 500
"""More than that would keep the loop from everything else; the rest follows in the next turn."""


class Gathered:
    """Takes facts one by one and gives them on in the order in which they came, in the loop's next turn."""

    def __init__(self, absorb: Callable[[Sequence[Fact]], bool]) -> None:
        self._absorb = absorb
        self._facts: list[Fact] = []

    def __call__(self, fact: Fact) -> None:
        """Take one."""
        if not self._facts:
            asyncio.get_running_loop().call_soon(self.give)
        self._facts.append(fact)

    def give(self) -> None:
        """Give on what has come."""
        facts, self._facts = self._facts[:AT_ONCE], self._facts[AT_ONCE:]
        if self._facts:
            asyncio.get_running_loop().call_soon(self.give)
        outcomes = any(isinstance(fact, Outcome) for fact in facts)
        if outcomes:
            failpoint("before-outcome")
        if facts:
            self._absorb(facts)
        if outcomes:
            failpoint("after-outcome")
