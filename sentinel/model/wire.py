"""Nouns to plain values and back, for the journal (JSON) and the wire (msgpack)."""

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from typing import Any, TypeVar, get_args, get_origin

T = TypeVar("T")
Plain = Any
_TAG = "kind"
_INT = range(-(2**63), 2**64)
"""The whole numbers that msgpack has."""
_TAGGED_FIELD = "kind_"
"""What a noun's own field `kind` is called, where `kind` already says which noun it is."""


class WireError(ValueError):
    """A plain value does not describe the noun that it should; the message says where."""


@cache
def _field_names(noun: type) -> tuple[str, ...]:
    """Name what is written; what a noun makes of its own other fields is made again when it is read."""
    return tuple(field.name for field in dataclasses.fields(noun) if field.init)


def to_plain(value: Any) -> Plain:
    """Give the JSON-able form: a dataclass becomes a dict whose `kind` is its class name."""
    if value is None or (isinstance(value, str | int | float | bool) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, tuple | list):
        return [to_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    plain: dict[str, Plain] = {"kind": type(value).__name__}
    for name in _field_names(type(value)):  # type: ignore[arg-type]
        plain[_TAGGED_FIELD if name == _TAG else name] = to_plain(getattr(value, name))
    return plain


def from_plain(noun: Any, plain: Plain) -> Any:
    """Build a noun (a class or a union of them) from its plain form.

    Raises WireError that names the class and field; unknown fields are refused, missing ones take defaults.
    """
    return _reader(noun)(plain)


def _scalar(kind: type) -> Callable[[Plain], Any]:
    def read(plain: Plain) -> Any:
        if kind is float and isinstance(plain, int) and not isinstance(plain, bool):
            return float(plain)
        if not isinstance(plain, kind) or (kind is int and isinstance(plain, bool)):
            raise WireError(f"expected {kind.__name__}, got {plain!r:.80}")
        if kind is int and plain not in _INT:
            raise WireError(f"expected an int of 64 bits, got {plain!r:.80}")
        return plain

    return read


def _sequence(build: Callable[[Any], Any], args: tuple[Any, ...]) -> Callable[[Plain], Any]:
    homogeneous = build is list or (len(args) == 2 and args[1] is Ellipsis)
    readers = [_reader(arg) for arg in args if arg is not Ellipsis]

    def read(plain: Plain) -> Any:
        if not isinstance(plain, list | tuple):
            raise WireError(f"expected a list, got {plain!r:.80}")
        if homogeneous:
            return build(readers[0](item) for item in plain)
        if len(plain) != len(readers):
            raise WireError(f"expected {len(readers)} items, got {len(plain)}")
        return build(reader(item) for reader, item in zip(readers, plain, strict=True))

    return read


def _mapping(args: tuple[Any, ...]) -> Callable[[Plain], Any]:
    read_key, read_value = map(_reader, args)

    def read(plain: Plain) -> Any:
        if not isinstance(plain, dict):
            raise WireError(f"expected a mapping, got {plain!r:.80}")
        return {read_key(key): read_value(value) for key, value in plain.items()}

    return read


def _union(args: tuple[Any, ...]) -> Callable[[Plain], Any]:
    nouns = {arg.__name__: arg for arg in args if isinstance(arg, type) and dataclasses.is_dataclass(arg)}
    others = [arg for arg in args if not dataclasses.is_dataclass(arg)]

    def read(plain: Plain) -> Any:
        if plain is None and types.NoneType in others:
            return None
        kind = plain.get(_TAG) if isinstance(plain, dict) else None
        if isinstance(kind, str) and kind in nouns:
            return _reader(nouns[kind])(plain)
        for other in others:
            try:
                return _reader(other)(plain)
            except WireError:
                continue
        found = plain.get("kind") if isinstance(plain, dict) else plain
        allowed = sorted(nouns) or [getattr(other, "__name__", str(other)) for other in others]
        raise WireError(f"{found!r:.80} is none of {', '.join(allowed)}")

    return read


def _dataclass(noun: type) -> Callable[[Plain], Any]:
    hints = typing.get_type_hints(noun)
    readers = {name: _reader(hints[name]) for name in _field_names(noun)}

    def read(plain: Plain) -> Any:
        if not isinstance(plain, dict) or plain.get("kind") != noun.__name__:
            raise WireError(f"expected a {noun.__name__}, got {plain!r:.80}")
        values = {}
        for key, value in plain.items():
            if key == _TAG:
                continue
            name = _TAG if key == _TAGGED_FIELD else key
            if name not in readers:
                raise WireError(f"{noun.__name__} has no field {name!r}")
            try:
                values[name] = readers[name](value)
            except WireError as error:
                raise WireError(f"{noun.__name__}.{name}: {error}") from None
        try:
            return noun(**values)
        except TypeError as error:
            raise WireError(f"{noun.__name__}: {error}") from None

    return read


@cache
def _reader(hint: Any) -> Callable[[Plain], Any]:
    if isinstance(hint, typing.NewType):
        return _reader(hint.__supertype__)
    if hint is Any:
        return lambda plain: plain
    if hint is types.NoneType:
        return _scalar(types.NoneType)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _union(args)
    if origin in (tuple, list):
        return _sequence(origin, args)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping(args)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint)
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint)  # type: ignore[arg-type]
    if hint in (str, int, float, bool):
        return _scalar(hint)
    raise TypeError(f"no wire form for {hint!r}")


def _enum(hint: type[Enum]) -> Callable[[Plain], Any]:
    def read(plain: Plain) -> Any:
        try:
            return hint(plain)
        except ValueError:
            allowed = ", ".join(str(member.value) for member in hint)
            raise WireError(f"{plain!r:.80} is no {hint.__name__}: {allowed}") from None

    return read
