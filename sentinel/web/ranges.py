"""Numbers, written shortly."""

from collections.abc import Iterable


def ranges(numbers: Iterable[int]) -> str:
    """Write numbers shortly: `0-7, 9`."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
