"""What should be, compared with what was ordered. Only here are actions made, and nothing is changed."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeAlias, TypeVar

from sentinel.core.page import words
from sentinel.core.settle import generation, nodes, remedies
from sentinel.core.state import Rules, State
from sentinel.core.touched import Touched
from sentinel.model.action import Page
from sentinel.model.decision import Decision

Key = TypeVar("Key")
Row = TypeVar("Row")
Part: TypeAlias = Callable[[], Iterable[Decision]]
"""What settles one object; asked again until nothing is missing there any more."""


def parts(state: State, rules: Rules, touched: Touched) -> Iterator[Part]:
    """Give what is to be settled, in order; the next one is given when nothing is missing in the one before.

    A freeze comes first. Whoever takes nodes away comes before whoever is seated.
    """
    if state.frozen or state.incidents:
        yield partial(remedies.settle_freeze, state, rules)
    touched.look()
    known = [state.incidents[name] for name in touched.incidents]
    for incident in sorted(known, key=lambda each: not remedies.empties_nodes(each, rules)):
        yield partial(_one, remedies.settle, state.incidents, incident.id, state, rules)
        touched.settled(incident=incident.id)
    for node in touched.nodes:
        yield partial(_one, nodes.settle, state.nodes, node, state, rules)
        touched.settled(node=node)
    for job in touched.jobs:
        yield partial(_one, generation.settle, state.jobs, job, state, rules)
        touched.settled(job=job)


def pages(state: State, rules: Rules, touched: Touched) -> Iterator[Page]:
    """Give what people are to be told when all else is settled; each is recorded before the next is given."""
    for name in touched.told:
        if (incident := state.incidents.get(name)) is not None:
            yield from words.settle(incident, state, rules)


def _one(
    settle: Callable[[Row, State, Rules], Iterable[Decision]],
    table: Mapping[Key, Row],
    key: Key,
    state: State,
    rules: Rules,
) -> Iterable[Decision]:
    """Settle an object as it is by now, if it is still there."""
    row = table.get(key)
    return settle(row, state, rules) if row is not None else ()


def missing(state: State, rules: Rules) -> Sequence[Decision]:
    """Settle everything, whatever was touched: after a fold nothing is missing."""
    every = Touched.everything(state, rules)
    found = [decision for part in parts(state, rules, every) for decision in part()]
    return [*found, *pages(state, rules, every)]
