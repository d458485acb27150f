"""What is stacked can be told apart: each part that is known has a colour, and none of them is health's."""

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from sentinel.dashboards import look
from sentinel.phases import PHASES

BOARDS = Path(look.__file__).parent / "json"
HEALTHS = {look.GOOD, look.NOTICE, look.BAD, look.QUIET}


def stacked() -> list[Any]:
    found = []
    for path in sorted(BOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            custom = panel.get("fieldConfig", {}).get("defaults", {}).get("custom", {})
            if custom.get("stacking", {}).get("mode") == "normal":
                found.append(pytest.param(panel, id=f"{path.stem}: {panel['title']}"))
    return found


def colour_of(series: str, panel: dict[str, Any]) -> str:
    """As Grafana picks it: by the last override that matches."""
    [*_, found] = [
        each["properties"][0]["value"]["fixedColor"]
        for each in panel["fieldConfig"]["overrides"]
        if re.match(each["matcher"]["options"].strip("/"), series)
    ]
    return str(found)


@pytest.mark.parametrize("panel", stacked())
def test_each_part_has_one_colour_which_is_not_health_s(panel: dict[str, Any]) -> None:
    overrides = panel["fieldConfig"]["overrides"]
    assert {each["matcher"]["id"] for each in overrides} == {"byRegexp"}, "told apart by name"
    colours = [each["properties"][0]["value"]["fixedColor"] for each in overrides]
    assert len(set(colours)) == len(look.HUES)
    assert HEALTHS.isdisjoint(colours)


def test_the_phases_of_a_step_are_all_unlike() -> None:
    [panel] = [each.values[0] for each in stacked() if each.id == "run: What ranks do"]
    colours = [colour_of(phase, panel) for phase in PHASES]
    of_a_step = [colour_of(each, panel) for each in ("data", "compute", "collective", "snapshot", "save")]
    assert len(set(of_a_step)) == len(of_a_step)
    assert all(one != other for one, other in itertools.pairwise(colours))


def panel_of(board: str, title: str) -> dict[str, Any]:
    panels = json.loads((BOARDS / f"{board}.json").read_text())["panels"]
    return next(each for each in panels if each["title"] == title)


def test_the_fastest_and_the_slowest_rank_are_told_apart() -> None:
    panel = panel_of("run", "Outside collectives")
    named = [each for each in panel["fieldConfig"]["overrides"] if each["matcher"]["id"] == "byRegexp"]
    panel["fieldConfig"]["overrides"] = named
    assert len({colour_of(each, panel) for each in ("min", "median", "max")}) == 3


def test_a_pair_that_nobody_measured_is_not_shown_as_a_bad_one() -> None:
    """The lowest of these limits is the worst one, and a node with itself has no value."""
    panel = panel_of("network", "Bandwidth, pair by pair")
    lowest, *_ = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert lowest["color"] == look.BAD
    special = {
        each["options"]["match"]: each["options"]["result"]["color"]
        for each in panel["fieldConfig"]["defaults"]["mappings"]
        if each["type"] == "special"
    }
    assert special == {"empty": "transparent", "null+nan": "transparent"}
    steps = [(each["id"], each["options"].get("sort")) for each in panel["transformations"]]
    by = [("sortBy", [{"field": "peer"}]), ("groupingToMatrix", None), ("sortBy", [{"field": "node\\peer"}])]
    assert steps == by
