"""What is written is read as it was, by neighbouring releases too, and what is damaged is one clear line."""

import json
import math
import random
from collections import Counter
from typing import Any, get_args

import msgpack
import pytest
from msgspec import Raw, Struct
from msgspec.structs import fields

from sentinel.core.state import State
from sentinel.logbook.recording import read
from sentinel.model.action import Action, Evict, Resume, Seat
from sentinel.model.codec import CodecError, decode, encode, from_plain, to_plain
from sentinel.model.fact import Fact, FindingReported, RankRaised
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import ActionId, IncidentId, JobId, NodeId, WorkerId
from sentinel.model.noun import Noun
from sentinel.model.report import Event, Hello, Order, RaisedSeen, RankBeat, Report

FOUND = Finding(
    "gpu", "temperature", "gpu-0", Health.WARNING, "hot", {"celsius": 91, "of": "gpu", "share": 0.5}
)
RAISED = RankRaised(
    1.0, JobId("moe"), 0, WorkerId("w0"), NodeId("n1"), 0, 7, 3, 9, "nan", "loss", "Traceback",
    (0.5, math.nan, math.inf, -math.inf),
)  # fmt: skip
RESUME = Resume(
    ActionId("I-1/resume/moe/1"), IncidentId("I-1"), JobId("moe"), 2,
    (Seat(0, WorkerId("w0"), NodeId("n1"), 0),), pause=(WorkerId("w1"),),
)  # fmt: skip
BEAT = RankBeat(
    JobId("moe"), 0, WorkerId("w0"), 7, 0, 1, 10, "compute", 5, 4, 0.1, 1e9, math.nan, 0.1, "S", 0.2
)  # fmt: skip
REPORT = Report(NodeId("n1"), "boot", 1, (BEAT,) * 8, ())


@pytest.mark.parametrize(
    "noun", [FOUND, RAISED, RESUME, BEAT, REPORT, (RAISED, RESUME), {"a": [FOUND]}, State().stored()]
)
def test_a_noun_comes_back_as_it_was(noun: Any) -> None:
    kind = {tuple: tuple[Fact, Action], dict: dict[str, list[Finding]]}.get(type(noun), type(noun))
    assert repr(decode(kind, encode(noun))) == repr(noun)
    assert repr(from_plain(kind, to_plain(noun))) == repr(noun)


def unions() -> list[type[Noun]]:
    return [noun for union in (Fact, Action, Event, Order, Hello | Report) for noun in get_args(union)]


@pytest.mark.parametrize("noun", unions())
def test_what_a_noun_is_never_collides_with_its_fields(noun: type[Struct]) -> None:
    assert issubclass(noun, Noun)
    assert noun.__struct_config__.tag == noun.__name__
    assert noun.__struct_config__.tag_field == "is"
    with pytest.raises(SyntaxError):
        compile("is = 1", "", "exec")
    assert {field.name for field in fields(noun)}.isdisjoint({"is"})


def test_a_field_that_a_later_release_added_is_passed_over() -> None:
    plain = {**to_plain(RAISED), "rack": {"row": [1, {"place": None}]}, "hint": "x"}
    assert repr(decode(Fact, encode(plain))) == repr(RAISED)


def test_a_field_that_an_earlier_release_did_not_have_takes_its_default() -> None:
    plain = to_plain(RESUME)
    for name in ("replay", "pause", "skip"):
        del plain[name]
    assert decode(Action, encode(plain)) == Resume(*[getattr(RESUME, name) for name in plain if name != "is"])


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seats": None}, "Expected `array`, got `None` - at `$.seats`"),
        ({"generation": "two"}, "Expected `int`, got `str` - at `$.generation`"),
        ({"is": "Resumed"}, "Invalid value 'Resumed' - at `$.is`"),
        ({"is": "x\n" * 5000}, "Invalid value 'x x"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place(change: dict[str, Any], says: str) -> None:
    with pytest.raises(CodecError) as caught:
        decode(Action, encode({**to_plain(RESUME), **change}))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_field_without_a_default_that_is_missing_is_named() -> None:
    plain = to_plain(Evict(ActionId("a"), IncidentId("I-1"), NodeId("n1"), "ECC"))
    del plain["node"]
    with pytest.raises(CodecError, match="Object missing required field `node`"):
        decode(Action, encode(plain))


def test_half_a_character_is_spelled_out_and_a_number_beyond_64_bits_is_rounded() -> None:
    odd = Finding("fs", "missing", "disk", Health.WARNING, "no /data/\udcff", {"turns": 1 << 70, "\udc80": 1})
    found: Finding = decode(Finding, encode(odd))
    assert found.summary == "no /data/\\udcff"
    assert found.evidence == {"turns": 2.0**70, "\\udc80": 1}


@pytest.mark.parametrize("value", [object(), {"x": 10**400}, lambda: 1, [{1, 2}, object]])
def test_what_nobody_could_read_is_not_written(value: Any) -> None:
    with pytest.raises(CodecError, match="can't be written"):
        encode(value)


def test_what_can_t_be_read_is_a_codec_error_however_deep_it_is_nested() -> None:
    for depth in (1_020, 5_000, 200_000):
        for inside in (b"\x91" * depth + b"\x01", b"\x81\xa1a" * depth + b"\x01"):
            for payload in (b"\x82\xa2is\xa6Report\xa4evil" + inside, b"\x81\xa5nodes" + inside, inside):
                for kind in (Hello | Report, Event, Any, dict[str, Raw]):
                    with pytest.raises(CodecError):
                        decode(kind, payload)


@pytest.mark.parametrize("size", [2**16, 2**31, 2**32 - 1])
@pytest.mark.parametrize("opcode", [0xDD, 0xDF, 0xC6, 0xDB, 0xC9])
def test_a_header_that_claims_more_than_there_is_takes_no_memory(opcode: int, size: int) -> None:
    for kind in (Hello | Report, tuple[float, ...], dict[str, str], Any, State):
        with pytest.raises(CodecError):
            decode(kind, bytes([opcode]) + size.to_bytes(4, "big") + b"\x01")


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, 2**64 - 1])
def test_numbers_from_outside_leave_room_to_count_on(number: int) -> None:
    for field in ("step", "generation", "pid"):
        beat = {**to_plain(BEAT), field: number}
        with pytest.raises(CodecError, match=rf"at `\$\.beats\[0\]\.{field}`"):
            decode(Hello | Report, encode({**to_plain(REPORT), "beats": [beat]}))


def test_random_and_mutated_bytes_are_read_or_refused() -> None:
    chance = random.Random(1)
    whole = (
        encode(REPORT),
        encode((RAISED, RESUME)),
        encode(RaisedSeen(*[getattr(RAISED, n) for n in RAISES])),
    )
    came = Counter[str]()
    for _ in range(20_000):
        payload = bytearray(chance.choice(whole) if chance.random() < 0.8 else chance.randbytes(60))
        for _ in range(chance.randrange(4)):
            payload[chance.randrange(len(payload))] = chance.randrange(256)
        cut = bytes(payload[: chance.choice([None, chance.randrange(len(payload))])])
        for kind in (Hello | Report, tuple[Fact, Action], Event):
            try:
                again = decode(kind, cut)
            except CodecError:
                came["refused"] += 1
                continue
            assert encode(decode(kind, encode(again))) == encode(again)
            came["read"] += 1
    assert min(came["read"], came["refused"]) > 1_000, came


RAISES = [field.name for field in fields(RaisedSeen)]


def test_a_recording_of_version_1_reads_as_it_did() -> None:
    fact = {**to_plain(RAISED), "kind": "RankRaised", "kind_": "nan"}
    del fact["is"]
    found = {**to_plain(FOUND), "kind": "Finding", "evidence": {"kind": "Page", "kind_": 1}}
    other = {"kind": "FindingReported", "at": 1.0, "node": "n1", "finding": found}
    state = {"kind": "State", "nodes": {"kind": {"kind": "Node", "id": "kind"}}}
    header = json.dumps({"recording": "I-1", "v": 1, "state_seq": 0, "state": state, "policy": None}) + "\n"
    by = '"policy_hash": "p", "runbooks_hash": "r", "actions": []}\n'
    text = header + "".join(
        f'{{"seq": {seq}, "fact": {json.dumps(each)}, {by}' for seq, each in enumerate((fact, other))
    )
    assert list(State.from_plain(read(text).state).nodes) == ["kind"]
    first, second = read(text).lines
    assert isinstance(first.fact, RankRaised)
    assert first.fact.kind == "nan"
    assert isinstance(second.fact, FindingReported)
    assert second.fact.finding.evidence == {"kind": "Page", "kind_": 1}


def test_msgpack_of_any_maker_is_read() -> None:
    assert decode(Hello | Report, msgpack.packb(to_plain(REPORT))).seq == 1
