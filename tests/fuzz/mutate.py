"""Inputs that begin as real ones: bits flipped, pieces lost or repeated, values that nobody expects."""

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

MOST = 1 << 20
"""Bytes of an input."""
NUMBERS = ("-1", "-5", "0", "2147483648", "9223372036854775808", "18446744073709551616", "1e999", "-0.0")
NUMBERS += ("NaN", "1e308", "²", "٣", "9" * 400, "0x10", "1.5", "1_000")
VALUES: tuple[Any, ...] = (-1, -5, 0, 2**31, 2**40, 2**63 - 1, -(2**63), 2**64 - 1, 1e308, float("inf"))
VALUES += (float("nan"), 0.5, True, None, "", "\0", "../..", "a/b", "n" * 5_000, "\ud7ff\u202e", b"\xff\xfe")
VALUES += ([], {}, [[[]]], {"": {}}, [0] * 3_000, "²", "xoxb-1", "\x1b[2J", "I-0001", "-")
TOKENS = (b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\n", b"\r\n\r\n", b"\x1b[2J", b"%n%s", b"../", b"{{", b"]]>")
TOKENS += (
    b"NVRM: Xid (PCI:0000:01:00): 79",
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b'"',
    b"\\u0000",
)
RUNS = (2, 100, 5_000, 70_000)
DEPTHS = (10, 1_000, 100_000)

Mutation = Callable[[bytes, Sequence[bytes], random.Random], bytes]


def mutated(seeds: Sequence[bytes], chance: random.Random) -> bytes:
    """Give one input, made of the seeds by a few changes: the same for the same state of `chance`."""
    data = chance.choice(seeds)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        data = chance.choice(MUTATIONS)(data, seeds, chance)[:MOST]
    return data


def _place(data: bytes, chance: random.Random) -> tuple[int, int]:
    begin = chance.randrange(len(data) + 1)
    return begin, min(len(data), begin + chance.choice((1, 2, 8, 64, 1_000)))


def _flip(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 3)) if data else 0):
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _overwrite(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    begin, end = _place(data, chance)
    return data[:begin] + chance.randbytes(end - begin) + data[end:]


def _lose(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    begin, end = _place(data, chance)
    return data[:begin] + data[end:]


def _repeat(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    begin, end = _place(data, chance)
    return data[:begin] + data[begin:end] * chance.choice(RUNS) + data[end:]


def _splice(data: bytes, seeds: Sequence[bytes], chance: random.Random) -> bytes:
    other = chance.choice(seeds)
    return data[: _place(data, chance)[0]] + other[_place(other, chance)[0] :]


def _cut(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    return data[: _place(data, chance)[0]]


def _insert(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    begin, _end = _place(data, chance)
    return data[:begin] + chance.choice(TOKENS) + data[begin:]


def _nest(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    begin, _end = _place(data, chance)
    opening = chance.choice((b"[", b'{"a":', b"\x91", b"\x81\xa1a", b"(", b"<a>"))
    return data[:begin] + opening * chance.choice(DEPTHS) + data[begin:]


def _number(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    found = [match.span() for match in re.finditer(rb"-?\d+(?:\.\d+)?", data[:20_000])]
    if not found:
        return data
    begin, end = chance.choice(found)
    return data[:begin] + chance.choice(NUMBERS).encode() + data[end:]


def _value(data: bytes, _: Sequence[bytes], chance: random.Random) -> bytes:
    """Put a value that nobody expects into a message that is well formed."""
    for read, write in ((json.loads, _json), (msgspec.msgpack.decode, msgspec.msgpack.encode)):
        try:
            return write(_with_value(read(data), chance))
        except (ValueError, TypeError, RecursionError, OverflowError):
            continue
    return data


def _json(plain: Any) -> bytes:
    return json.dumps(plain, default=repr).encode()


def _with_value(plain: Any, chance: random.Random) -> Any:
    keys = list(plain) if isinstance(plain, dict) else range(len(plain)) if isinstance(plain, list) else []
    if not keys or chance.random() < 0.1:
        return chance.choice(VALUES)
    key = chance.choice(keys)
    plain[key] = _with_value(plain[key], chance)
    return plain


MUTATIONS: tuple[Mutation, ...] = (
    _flip, _overwrite, _lose, _repeat, _splice, _cut, _insert, _nest, _number, _value, _value, _value,
)  # fmt: skip
