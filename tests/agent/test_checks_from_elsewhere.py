"""A check from another package may raise anything and give anything: that is a finding, and ends nobody."""

import asyncio
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agent_node import Node

from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.codec import decode, encode, from_plain, to_plain
from sentinel.model.finding import Finding, Health
from sentinel.model.report import FindingSeen
from sentinel.runtime.probe import Answer, NoGpus, probe

MACHINE = Machine("n", NoGpus(), None)


def said(**evidence: Any) -> list[Finding]:
    return [Finding("fan", "slow", "fan-1", Health.WARNING, "fan 1 is slow", evidence)]


def run(
    judge: Callable[[Any], Any], gauges: Callable[[Any], Any] | None = None, counts: Any = None
) -> Answer:
    check = Check(
        "fan", 1.0, 1.0, lambda machine: 900, judge, causes=(), metrics=gauges, counts=counts, in_agent=True
    )
    answer: Answer = from_plain(Answer, json.loads(json.dumps(to_plain(probe(check, MACHINE)))))
    assert repr(decode(Answer, encode(answer))) == repr(answer)
    return answer


def leave(_: int) -> None:
    raise SystemExit(1)


@pytest.mark.parametrize(
    ("judge", "why"),
    [
        pytest.param(lambda _: said(speed=None), "evidence[...]`", id="None"),
        pytest.param(lambda _: said(spins=True), "got `bool` - at `$[0].evidence[...]`", id="a bool"),
        pytest.param(lambda _: said(speeds=[1, 2]), "got `array` - at `$[0].evidence[...]`", id="a list"),
        pytest.param(lambda _: said(turns=10**400), "can't be written", id="too big"),
        pytest.param(lambda _: said(fan=object()), "can't be written", id="an object"),
        pytest.param(
            lambda _: [Finding("fan", "x", "y", Health.OK, "z", {1: 2})],
            "got `int` - at `key` in `$[0].evidence`",
            id="a key",
        ),  # type: ignore[dict-item]
        pytest.param(
            lambda _: [Finding("fan", "x", 7, Health.OK, "z")],
            "got `int` - at `$[0].component`",
            id="a number",
        ),  # type: ignore[arg-type]
        pytest.param(lambda _: ["slow"], "no Finding: Expected `object`, got `str`", id="no finding"),
        pytest.param(lambda _: 7, "TypeError", id="nothing to go through"),
        pytest.param(lambda _: 1 / 0, "ZeroDivisionError", id="it raises"),
        pytest.param(leave, "SystemExit", id="it would end its process"),
    ],
)
def test_findings_that_nobody_could_be_told_are_a_failed_probe(judge: Callable[[Any], Any], why: str) -> None:
    answer = run(judge)
    assert (answer.failed, answer.gauges, answer.counts) == (True, (), ())
    (finding,) = answer.findings
    assert (finding.code, finding.component, finding.health) == ("probe-failed", "fan", Health.UNKNOWN)
    assert why in finding.summary


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({series("fan_speed"): "fast"}, id="a word"),
        pytest.param({series("fan_speed"): None}, id="None"),
        pytest.param({series("fan_speed"): True}, id="a bool"),
        pytest.param({series("fan_speed"): 10**400}, id="too big"),
        pytest.param({'fan_speed{fan="1"}': 1}, id="text"),
        pytest.param({Series("fan_speed", (("fan", 1),)): 1}, id="a label that is no text"),  # type: ignore[arg-type]
        pytest.param({series("fan_speed", **{"the fan": 1}): 1}, id="a label of two words"),
        pytest.param({series("fan_speed", __name__="x"): 1}, id="another name"),
        pytest.param({series("fan speed"): 1}, id="two words"),
        pytest.param({series("fan\nspeed"): 1}, id="two lines"),
        pytest.param({7: 1}, id="no name"),
        pytest.param({Series(7): 1}, id="a number for a name"),  # type: ignore[arg-type]
        pytest.param({Series("fan_speed", (7,)): 1}, id="a number for labels"),  # type: ignore[arg-type]
        pytest.param(7, id="no values"),
    ],
)
@pytest.mark.parametrize("what", ["gauges", "counts"])
def test_values_that_can_not_be_exported_are_a_failed_probe(what: str, values: Any) -> None:
    answer = run(lambda _: said(), **{what: lambda _: values})
    assert (answer.failed, getattr(answer, what)) == (True, ())


def test_a_counter_does_not_fall() -> None:
    answer = run(lambda _: said(), counts=lambda _: {series("fan_stops_total"): -1})
    assert (answer.failed, answer.counts) == (True, ())


def test_what_can_be_told_is_told_as_it_is() -> None:
    speed, stops = series("fan_speed", fan='1 "left"'), series("fan_stops_total")
    answer = run(lambda _: said(speed=1.5, name="x"), lambda _: {speed: 900}, lambda _: {stops: 2})
    assert answer.findings[0].evidence == {"speed": 1.5, "name": "x"}
    assert (answer.failed, dict(answer.gauges)) == (False, {speed: 900.0})
    assert dict(answer.counts) == {stops: 2}
    assert math.isnan(run(lambda _: said(speed=math.nan)).findings[0].evidence["speed"])


FAN = """
from sentinel.model.check import Check
from sentinel.model.finding import Finding, Health

def judge(_):
    return [Finding("fan", "slow", "fan-1", Health.WARNING, "fan 1 is slow", {"speed": None})]

CHECK = Check("fan", 60.0, 1.0, measure=lambda machine: 0, judge=judge, causes=(), in_agent=True)
"""


def test_an_agent_with_such_a_check_watches_on(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = tmp_path / "elsewhere" / "fan-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Name: fan\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[sentinel.checks]\nfan = fan:CHECK\n")
    (about.parent / "fan.py").write_text(FAN)
    monkeypatch.setenv("PYTHONPATH", f"{about.parent}:{os.environ.get('PYTHONPATH', '')}")

    async def scenario() -> None:
        async with node.watched() as controller:
            reported = await controller.event(
                lambda event: isinstance(event, FindingSeen) and event.finding.check == "fan"
            )
            assert isinstance(reported, FindingSeen)
            assert reported.finding.code == "probe-failed"

    asyncio.run(scenario())
