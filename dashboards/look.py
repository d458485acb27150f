"""How panels look: limits, words for values, and the colours, which mean health only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias, TypedDict

from grafana_foundation_sdk.models import dashboard as model

GOOD, NOTICE, BAD, QUIET, PLAIN = "green", "orange", "red", "#8e8e8e", "blue"
"""Ok, warning, critical, unknown; and what has nothing to do with health."""
SERIES = (PLAIN, "purple", "dark-blue", "dark-purple")
"""Of what has nothing to do with health either, where a panel has several lines, in their order."""
HUES = ("#5794f2", "#c6b4ea", "#e58bc8", "#3a5ba0", "#33b5c9", "#8f3bb8", "#a5c8ff", "#9c7a97")
"""Of the parts of a whole, where shades of one colour can't be told apart: none of them is health's."""
Words: TypeAlias = Mapping[int, tuple[str, str]]
"""What a value is called, and its colour."""

YES_IS_GOOD: Words = {0: ("no", BAD), 1: ("yes", GOOD)}
YES_IS_NOTED: Words = {0: ("no", GOOD), 1: ("yes", NOTICE)}
YES_IS_BAD: Words = {0: ("no", GOOD), 1: ("yes", BAD)}


@dataclass(frozen=True, slots=True)
class Limits:
    """From which value on something is worth a look, and from which it is bad."""

    notice: float | None = None
    bad: float | None = None
    low: bool = False
    """Small values are the bad ones: below `bad` it is bad, below `notice` worth a look."""

    def steps(self) -> list[model.Threshold]:
        """Give them as Grafana's thresholds, the lowest first, which has no value."""
        marks = [(at, colour) for at, colour in ((self.notice, NOTICE), (self.bad, BAD)) if at is not None]
        if not self.low:
            return [model.Threshold(None, GOOD), *(model.Threshold(*mark) for mark in marks)]
        starts: list[float | None] = [None, *(at for at, _ in reversed(marks))]
        colours = [*(colour for _, colour in reversed(marks)), GOOD]
        return [model.Threshold(at, colour) for at, colour in zip(starts, colours, strict=True)]


class Look(TypedDict, total=False):
    """What a panel may be given besides its words and queries."""

    limits: Limits
    words: Words
    width: int
    """Of the 24 columns of a dashboard."""
    height: int
    links: Mapping[str, str]
    """Address by title; what a click on a value offers."""
    none: str
    """What stands there when there is no value."""


def mapping(words: Words) -> model.ValueMap:
    """Give words for values as Grafana has them."""
    named = enumerate(words.items())
    return model.ValueMap(
        {str(value): model.ValueMappingResult(*word, None, n) for n, (value, word) in named}
    )
