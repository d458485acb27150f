"""What is written is read again by this release and its neighbours, and nonsense is one error."""

import math
import random
from typing import Any

import msgspec
import pytest

from sentinel.core.state import State
from sentinel.model.codec import CodecError, decode, encode, from_plain, to_plain
from sentinel.model.fact import Fact, FindingReported, NodeHeard
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import NodeId
from sentinel.model.journal import from_body, line_from_plain, to_body
from sentinel.model.report import FindingSeen, Hello, Report

FINDING = Finding("xid", "xid", "gpu-3", Health.CRITICAL, "Xid 79", {"xid": 79, "t": 1.5}, event=True)
FACT = FindingReported(2.0, NodeId("node-7"), FINDING)


def changed(body: bytes, **fields: Any) -> bytes:
    return msgspec.msgpack.encode({**msgspec.msgpack.decode(body), **fields})


def test_what_a_newer_release_adds_is_passed_over() -> None:
    newer = changed(encode(FACT), mood="grim", finding={**to_plain(FINDING), "odds": [1, {"a": 2}]})
    assert decode(Fact, newer) == FACT


def test_what_an_older_release_lacks_takes_its_default() -> None:
    plain = to_plain(FACT)
    del plain["finding"]["burst"], plain["finding"]["count"]
    assert decode(Fact, msgspec.msgpack.encode(plain)) == FACT
    assert from_plain(Fact, plain) == FACT


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"is": "Eclipse"}, "Eclipse", id="unknown noun"),
        pytest.param({"at": "noon"}, "Expected `float`, got `str` - at `$.at`", id="wrong type"),
        pytest.param({"node": None}, "at `$.node`", id="nothing"),
        pytest.param({"finding": {"health": "unwell"}}, "at `$.finding", id="unknown word"),
        pytest.param({"finding": 7}, "at `$.finding", id="a number for a noun"),
    ],
)
def test_what_nobody_could_act_on_is_refused_with_its_place(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(CodecError) as caught:
        decode(Fact, changed(encode(FACT), **fields))
    assert said in str(caught.value)


def test_a_number_that_is_none_and_half_a_character_are_written() -> None:
    fact: FindingReported = decode(Fact, encode(msgspec.structs.replace(FACT, at=math.nan)))
    assert math.isnan(fact.at)
    assert decode(Fact, encode(NodeHeard(1.0, NodeId("a\udc80b")))) == NodeHeard(1.0, NodeId("a\\udc80b"))


def nested(depth: int) -> Any:
    inner: Any = 0
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize("depth", [1_020, 100_000])
def test_what_is_nested_without_end_is_one_error(depth: int) -> None:
    message = b"\x91" * depth + b"\x00"
    for noun in (Hello | Report, Fact, State, Any):
        with pytest.raises(CodecError):
            decode(noun, message)
    for version in (1, 2):
        with pytest.raises(CodecError):
            line_from_plain(version, {"fact": {"kind": "NodeHeard", "at": nested(depth)}, "actions": []})
    with pytest.raises(CodecError):
        encode(nested(100_000))


def test_damaged_bytes_are_a_noun_or_one_error() -> None:
    chance = random.Random(3)
    report = Report(NodeId("n"), "boot", 3, (), ((1, FindingSeen(FINDING)),))
    whole = [(lambda body: decode(Hello | Report, body), encode(report)), (from_body, to_body(FACT, ()))]
    refused = 0
    for _ in range(20_000):
        read, body = chance.choice(whole)
        damaged = bytearray(body)
        for _ in range(chance.randrange(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            read(bytes(damaged[: chance.choice([len(damaged), chance.randrange(len(damaged))])]))
        except CodecError as error:
            refused += 1
            assert "\n" not in str(error)  # noqa: PT017 - each of thousands
    assert refused > 10_000
