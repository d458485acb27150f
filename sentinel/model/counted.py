"""A number and what it counts, as people read it."""


def counted(number: int, noun: str) -> str:
    """Write `1 rank`, `2 ranks`, `3 tries`, `4 processes`."""
    return f"{number} {noun}" if number == 1 else f"{number} {_plural(noun)}"


def _plural(noun: str) -> str:
    if noun.endswith(("s", "x", "ch")):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"
