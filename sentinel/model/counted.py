"""A number and what it counts, and how long something took, as people read them."""

import math

from sentinel.model.ids import Seconds


def counted(number: int, noun: str) -> str:
    """Write `1 rank`, `2 ranks`, `3 tries`, `4 processes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {_plural(noun)}"


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch")):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"


def duration(seconds: Seconds | None) -> str:
    """Write a duration for people: `0.4 s`, `42 s`, `3 min 20 s`, `5 h 02 min`, `3 d 4 h`."""
    if seconds is None:
        return "never"
    if not math.isfinite(seconds):
        return "not known"
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86_400:
        return f"{whole // 3600} h {whole % 3600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"
