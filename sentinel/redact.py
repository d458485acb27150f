"""Keep secrets out of what is kept or shown: kernel lines, tracebacks and other systems' errors hold some.

It is done where text enters: an agent's events and a controller's facts, before either knows them; and every
process's log, as it is written.
"""

import dataclasses
import enum
import re
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import Any, NewType, TypeVar, get_type_hints

import msgspec

from sentinel.secret_patterns import HIDDEN, KINDS, LABEL

T = TypeVar("T")

SHORTEST = 8
"""A known secret of fewer characters might be an ordinary word."""
SHORT = 200
"""Texts of so few characters, such as a check's and a component's names, come again and again."""
_known: dict[str, re.Pattern[str]] = {}


def remember(*secrets: str | bytes) -> None:
    """Hide these from here on wherever they stand, also if they go on in the next line."""
    for secret in secrets:
        text = (secret.decode("latin-1") if isinstance(secret, bytes) else secret).strip()
        if len(text) >= SHORTEST:
            _known[text] = re.compile(r"(?:\\?\s{1,4}|\\n\s{0,4})?".join(map(re.escape, text)))
            _redact_again.cache_clear()


def redact(text: str) -> str:
    """Replace what looks like a secret, or is one that we know, by `[hidden]`; the rest stays as it is."""
    return _redact_again(text) if len(text) <= SHORT else _redact(text)


def _redact(text: str) -> str:
    for secret, anywhere in _known.items():
        if secret[:2] in text or "\n" in text:
            text = anywhere.sub(HIDDEN, text)
    small = text.lower()
    for kind in KINDS:
        if any(hint in small for hint in kind.hints):
            text = kind.pattern.sub(kind.instead, text)
    return text


_redact_again = lru_cache(4096)(_redact)


def redacted(value: T) -> T:
    """Give a noun, or plain values, with every text in it redacted; the same object if there was nothing.

    The names of its fields and keys tell of secrets, too.
    """
    return _redacted(value)  # type: ignore[no-any-return]


def _redacted(value: Any) -> Any:
    kind: Any = type(value)
    if kind is str:
        return value if (new := redact(value)) == value else new
    if kind is dict:
        changed = {key: new for key, old in value.items() if (new := _of_key(key, old)) is not old}
        return {**value, **changed} if changed else value
    if kind in (tuple, list):
        items = [_redacted(item) for item in value]
        return value if all(map(_is, items, value)) else kind(items)
    if names := _texts(kind):
        pairs = ((name, getattr(value, name)) for name in names)
        changed = {name: new for name, old in pairs if (new := _redacted(old)) is not old}
        replace: Any = msgspec.structs.replace if issubclass(kind, msgspec.Struct) else dataclasses.replace
        return replace(value, **changed) if changed else value
    return value


def _of_key(key: Any, value: Any) -> Any:
    if type(value) is str and type(key) is str and len(value) > 3 and LABEL.fullmatch(key):
        return value if value == HIDDEN else HIDDEN
    return _redacted(value)


def _is(one: Any, other: Any) -> bool:
    return one is other


@cache
def _texts(kind: Any) -> tuple[str, ...]:
    """Name the fields of a noun that may hold text: no numbers, and no names of ours."""
    if not (issubclass(kind, msgspec.Struct) or dataclasses.is_dataclass(kind)):
        return ()
    return tuple(name for name, hint in get_type_hints(kind).items() if not _is_name_or_number(hint))


def _is_name_or_number(hint: Any) -> bool:
    hint = getattr(hint, "__origin__", hint) if hasattr(hint, "__metadata__") else hint
    plain: Iterable[type] = (int, float, bool, bytes)
    return (
        isinstance(hint, NewType) or hint in plain or (isinstance(hint, type) and issubclass(hint, enum.Enum))
    )
