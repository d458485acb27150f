"""What people say of a diagnosis once they know better: it changes nothing, and is counted.

In the journal: a `Commanded` with `at`, `who`, the incident as `target`, one of JUDGEMENTS, and the reason.
"""

from collections.abc import Sequence

from msgspec import Struct

from sentinel.model.ids import Instant

RIGHT, NOT_NODE, NOT_CAUSE = "right", "not-node", "not-cause"
JUDGEMENTS = (RIGHT, NOT_NODE, NOT_CAUSE)
"""Commands that judge an incident: it is right, its node was not to blame, its cause is another one."""
SAID = {RIGHT: "right", NOT_NODE: "not this node", NOT_CAUSE: "not this cause"}


class Judgement(Struct, frozen=True, gc=False):
    """One person's word on one incident."""

    at: Instant
    what: str
    """One of JUDGEMENTS."""
    who: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.who}: {SAID.get(self.what, self.what)}{self.reason and f': {self.reason}'}"


def joined(known: Sequence[Judgement], new: Judgement) -> tuple[Judgement, ...]:
    """Give what stands when another is said: right ends the other two, and either of them ends right."""
    stays = (each for each in known if (each.what == RIGHT) == (new.what == RIGHT) and each.what != new.what)
    return (*stays, new)
