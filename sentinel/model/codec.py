"""Nouns as bytes and back: msgpack on the wire, in the journal and in snapshots, plain values for people.

Fields that a reader does not know are passed over and missing ones take their defaults, so that neighbouring
releases understand each other. What can't be read raises CodecError and nothing else, however it is damaged.
"""

from functools import cache
from typing import Any, TypeAlias, get_args

import msgspec

Plain: TypeAlias = Any
"""Dicts, lists, strings and numbers, as JSON has them."""
MESSAGE_BYTES = 16 * 1024 * 1024
"""The longest message that is taken in. msgspec itself bounds depth, and what a header may claim."""
_WORDS = 200


class CodecError(ValueError):
    """These bytes or values are not the noun that they should be; one line says what and where."""


def encode(value: Any) -> bytes:
    """Give a noun's bytes. Raises CodecError for what no reader could take.

    What a rank said may hold half a character, such as a file's name that is no UTF-8, and a check may count
    beyond 64 bits: such a character is spelled out, such a number rounded.
    """
    try:
        try:
            return _ENCODER.encode(value)
        except (UnicodeEncodeError, OverflowError):
            return _ENCODER.encode(_within_bounds(msgspec.to_builtins(value)))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CodecError(f"{type(value).__name__} can't be written: {_line(error)}") from None


def decode(noun: Any, payload: bytes) -> Any:
    """Build a noun (a class, or a union of tagged ones) from its bytes. Raises CodecError."""
    try:
        return _decoder(noun).decode(payload)
    except Exception as error:  # whatever msgspec makes of such bytes
        raise CodecError(f"no {_name(noun)}: {_line(error)}") from None


def to_plain(value: Any) -> Plain:
    """Give the form for JSON. Raises CodecError for what has none."""
    try:
        return msgspec.to_builtins(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise CodecError(f"{type(value).__name__} can't be written: {_line(error)}") from None


def from_plain(noun: Any, plain: Plain) -> Any:
    """Build a noun from its plain form. Raises CodecError."""
    return decode(noun, encode(plain))  # a third of the time of msgspec.convert, which builds its reader anew


_INT64 = range(-(2**63), 2**64)
_ENCODER = msgspec.msgpack.Encoder()


@cache
def _decoder(noun: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(noun)


def _name(noun: Any) -> str:
    """Name a noun, or each of a union's."""
    return " | ".join(each.__name__ for each in get_args(noun) if isinstance(each, type)) or noun.__name__


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:_WORDS]


def _within_bounds(plain: Plain) -> Plain:
    if isinstance(plain, str):
        return plain.encode(errors="backslashreplace").decode()
    if isinstance(plain, int) and plain not in _INT64:
        return float(plain)
    if isinstance(plain, dict):
        return {_within_bounds(key): _within_bounds(value) for key, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_within_bounds(item) for item in plain]
    return plain
