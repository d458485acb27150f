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


def natural(name: str) -> tuple[str, int, str]:
    """Order names as people count: node-9 before node-10."""
    head = name.rstrip("0123456789")
    return head, int(name[len(head) :] or -1), name
