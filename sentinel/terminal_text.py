"""Text on its way to a terminal: what a terminal would obey, or read in another order, is spelled out."""

import re

_ORDERS = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and new line, DEL, C1
    r"\u00ad\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
    r"\U000e0000-\U000e007f]"
)
"""Also what turns the direction of a text or hides in it, and halves of characters."""


def harmless(text: str) -> str:
    """Spell out each character that is an order, such as escape (1b); tabs and new lines stay."""
    return _ORDERS.sub(_spelled, text)


def one_line(text: str) -> str:
    """The same on one line, its white space as single blanks."""
    return harmless(" ".join(text.split()))


def _spelled(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")
