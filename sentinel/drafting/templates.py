"""Lines without what is only this time's: templates, mined from all lines at once, and patterns of them."""

import re
from collections.abc import Iterable

WILD = "<*>"
LONGEST = 240
"""Characters of a line that count: what follows is mostly numbers."""
FIXED = 12
"""A pattern with fewer letters in it says too little to name a cause."""
SIMILAR = 0.6
"""Share of its words in which a line has to be like a template to be one of its lines."""
_LEADING = 4
"""Drain's depth: lines whose first words differ are never alike."""

_PARTS: tuple[tuple[str, str, str], ...] = (
    ("<uuid>", r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b", r"[0-9a-fA-F-]{36}"),
    ("<pci>", r"\b[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.\d)?\b", r"[0-9a-fA-F:.]{7,16}"),
    ("<ip>", r"\b\d{1,3}(?:\.\d{1,3}){3}\b", r"[0-9.]{7,15}"),
    ("<hex>", r"\b0x[0-9a-fA-F]+\b", r"0x[0-9a-fA-F]{1,32}"),
    ("<num>", r"(?<![A-Za-z_])\d+(?:\.\d+)?|(?<=\bGPU)\d+", r"[0-9.]{1,24}"),
)
"""What stands in a line for this time's: its name, how it is found, and what matches another time's."""
_NAMED = {name: pattern for name, _, pattern in _PARTS}
_NODE = ("<node>", r"[\w.-]{1,64}")


def masked(line: str, names: Iterable[str] = ()) -> str:
    """Give a line with numbers, addresses and the names of nodes taken out."""
    words = line[:LONGEST].split()
    line = " ".join(words[:-1] if len(line) > LONGEST and len(words) > 1 else words)
    for name in sorted(names, key=len, reverse=True):
        line = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", _NODE[0], line)
    for name, found, _ in _PARTS:
        line = re.sub(found, name, line)
    return line


def pattern_of(template: str) -> str:
    """Give the regular expression of a template; empty for one that says too little."""
    pieces = re.split(rf"({'|'.join([re.escape(WILD), _NODE[0], *_NAMED])})", template)
    if sum(char.isalpha() for piece in pieces[::2] for char in piece) < FIXED:
        return ""
    known = {**_NAMED, _NODE[0]: _NODE[1], WILD: r"\S{1,80}"}
    return "".join(known.get(piece) or re.escape(piece).replace(r"\ ", r"\s+") for piece in pieces)


class Templates:
    """Templates of many lines, by Drain: words in which lines differ that are otherwise alike are wild."""

    def __init__(self, lines: Iterable[str]) -> None:
        """`lines` are masked. Raises ModuleNotFoundError without the extra that brings drain3."""
        from drain3.drain import Drain

        self._drain = Drain(depth=_LEADING, sim_th=SIMILAR, param_str=WILD)
        self._clusters = {line: self._drain.add_log_message(line)[0] for line in dict.fromkeys(lines)}

    def of(self, line: str) -> str:
        """Give the template of one of the lines."""
        return str(self._clusters[line].get_template())
