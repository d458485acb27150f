"""What a PromQL expression selects, and how: names, matchers, and what its counters go through."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import promql_parser as promql

RANGES: Mapping[str, str] = {"$__rate_interval": "7m", "$__range": "11h"}
"""Grafana's own ranges, and what stands for each where an expression is read: nobody writes these."""
STAND_INS = {timedelta(minutes=7): "$__rate_interval", timedelta(hours=11): "$__range"}
GROWTH = ("rate", "irate", "increase")


@dataclass(frozen=True, slots=True)
class Selector:
    """One metric in an expression."""

    name: str
    matchers: frozenset[str]
    """As they stand there, such as `job=~"$job"`."""
    range: str = ""
    """As it stands there, such as `$__range`; empty for none."""
    function: str = ""
    """What its range is given to."""


def selectors(expression: str) -> list[Selector]:
    """Read an expression. Raises ValueError when it is no PromQL."""
    for name, stand_in in RANGES.items():
        expression = expression.replace(name, stand_in)
    return list(_below(promql.parse(expression)))


def _below(node: Any, function: str = "", within: timedelta | None = None) -> Iterator[Selector]:
    match node:
        case promql.VectorSelector():
            matchers = frozenset(str(each) for each in node.matchers.matchers)
            yield Selector(node.name or "", matchers, _written(within), function)
        case promql.MatrixSelector():
            yield from _below(node.vector_selector, function, node.range)
        case promql.Call():
            for argument in node.args:
                yield from _below(argument, node.func.name)
        case promql.BinaryExpr():
            yield from _below(node.lhs)
            yield from _below(node.rhs)
        case promql.AggregateExpr() | promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            yield from _below(node.expr)


def _written(within: timedelta | None) -> str:
    if within is None:
        return ""
    return STAND_INS.get(within) or promql.display_duration(within)
