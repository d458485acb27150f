"""Nouns as bytes and back: msgpack on the wire, in the journal and in snapshots, plain values for people.

Fields that a reader does not know are passed over and missing ones take their defaults, so that neighbouring
releases understand each other. What can't be read raises CodecError and nothing else, however it is damaged.
"""

from functools import cache
from typing import Any, TypeAlias, get_args

import msgspec

Plain: TypeAlias = Any
"""Dicts, lists, strings and numbers, as JSON has them."""
MAX_BYTES = 16 * 1024 * 1024
"""The longest message that is looked at. msgspec itself bounds depth and what a header may claim."""
_WORDS = 200


class CodecError(ValueError):
    """These bytes or values are not the noun that they should be; one line says what and where."""


def encode(value: Any) -> bytes:
    """Give a noun's bytes. Raises CodecError for what no reader could take.

    What a rank said may hold half a character, such as a file's name that is no UTF-8: that is spelled out.
    """
    try:
        return _ENCODER.encode(value)
    except UnicodeEncodeError:
        return encode(_spelled_out(to_plain(value)))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise CodecError(f"{type(value).__name__} can't be written: {_line(error)}") from None


def decode(noun: Any, payload: bytes) -> Any:
    """Build a noun (a class, or a union of tagged ones) from its bytes. Raises CodecError."""
    try:
        return _decoder(noun).decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError, MemoryError) as error:
        raise CodecError(f"no {_name(noun)}: {_line(error)}") from None


def to_plain(value: Any) -> Plain:
    """Give the form for JSON. Raises CodecError for what has none."""
    try:
        return msgspec.to_builtins(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise CodecError(f"{type(value).__name__} can't be written: {_line(error)}") from None


def from_plain(noun: Any, plain: Plain) -> Any:
    """Build a noun from its plain form. Raises CodecError."""
    try:
        return msgspec.convert(plain, noun)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise CodecError(f"no {_name(noun)}: {_line(error)}") from None


_ENCODER = msgspec.msgpack.Encoder()


@cache
def _decoder(noun: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(noun)


def _name(noun: Any) -> str:
    """Name a noun, or each of a union's."""
    return " | ".join(each.__name__ for each in get_args(noun) if isinstance(each, type)) or noun.__name__


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:_WORDS]


def _spelled_out(plain: Plain) -> Plain:
    if isinstance(plain, str):
        return plain.encode(errors="backslashreplace").decode()
    if isinstance(plain, dict):
        return {_spelled_out(key): _spelled_out(value) for key, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_spelled_out(item) for item in plain]
    return plain
