"""What a rule says of a fabric."""

from typing import NamedTuple, TypeAlias

from sentinel.model.ids import NodeId

Named: TypeAlias = tuple[str, frozenset[NodeId]]
"""What is bad (`node`, `pair`, `rack`, `silent`), and which nodes."""


class Answer(NamedTuple):
    """Whom a rule names, and how many rounds it took."""

    named: set[Named]
    rounds: int
