"""Where nodes sit, from a file: name patterns → rack, power feed, switch, NVLink domain, image."""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sentinel.config import ConfigError
from sentinel.model.ids import MOST_LABELS, NodeId, label

EXAMPLE = '"gpu-[001-008]" = { rack = "r1" }'
_NUMBERS = re.compile(r"\[([^\[\]]*)\]")
_RANGE = re.compile(r"(\d{1,9})(?:-(\d{1,9}))?")
_NAME = re.compile(r"[A-Za-z0-9_.:*?-]*")

Matches = Callable[[str], bool]


class Topology:
    """Patterns with what they say of the nodes whose names they match."""

    def __init__(self, patterns: Mapping[str, Mapping[str, str]]) -> None:
        """Take labels by pattern. Raises ValueError, in one line, for what is no pattern or label."""
        self._patterns = [(_pattern(text), _labels(text, given)) for text, given in patterns.items()]

    def labels(self, node: NodeId) -> dict[str, str]:
        """Give a node's labels: of all patterns that match it; what a later one says counts."""
        found: dict[str, str] = {}
        for matches, labels in self._patterns:
            if matches(node):
                found |= labels
        return found


def read(path: Path | None) -> Topology:
    """Read a file, if there is one. Raises ConfigError."""
    if path is None:
        return Topology({})
    try:
        return Topology(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"cluster.topology: {path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"cluster.topology: {path}: is not TOML: {error}") from None
    except ValueError as error:
        raise ConfigError(f"cluster.topology: {path}: {error}") from None


def _labels(pattern: str, given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given.values()):
        raise ValueError(f"{pattern!r:.80}: expected names by kind, such as {EXAMPLE}")
    try:
        labels = dict(label(kind, name) for kind, name in given.items())
    except ValueError as error:
        raise ValueError(f"{pattern!r:.80}: {error}") from None
    if not 1 <= len(labels) <= MOST_LABELS:
        raise ValueError(f"{pattern!r:.80}: expected 1 to {MOST_LABELS} labels, got {len(labels)}")
    return labels


def _pattern(text: str) -> Matches:
    """Give what a pattern matches: `*`, `?`, and Slurm's ranges of numbers, such as `[001-008,12]`."""
    names, numbers = _NUMBERS.sub("", text), _NUMBERS.findall(text)
    if not text or not _NAME.fullmatch(names):
        raise ValueError(f"{text!r:.80}: is no pattern of node names, such as {EXAMPLE}")
    ranges = [_ranges(text, each) for each in numbers]
    parts = (re.escape(part) for part in _NUMBERS.split(text)[::2])
    glob = r"(\d+)".join(parts).replace(r"\*", ".*").replace(r"\?", ".")
    compiled = re.compile(glob, re.DOTALL)

    def matches(node: str) -> bool:
        found = compiled.fullmatch(node)
        return found is not None and all(map(_holds, ranges, found.groups()))

    return matches


def _ranges(pattern: str, text: str) -> list[tuple[int, int, int]]:
    """Read `001-008,12` as (first, last, digits) of each."""
    ranges = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if not found or int(found[2] or found[1]) < int(found[1]):
            raise ValueError(f"{pattern!r:.80}: {part!r} is no range of numbers, such as 001-008")
        ranges.append((int(found[1]), int(found[2] or found[1]), len(found[1])))
    return ranges


def _holds(ranges: list[tuple[int, int, int]], digits: str) -> bool:
    number = int(digits[:9]) if len(digits) < 10 else -1
    return any(first <= number <= last and digits == str(number).zfill(wide) for first, last, wide in ranges)
