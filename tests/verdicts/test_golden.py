"""Every scenario comes out as the table says; where that is marked as wrong, until it comes out right."""

from collections.abc import Iterator

import pytest
from depth import tries

from sentinel.rehearse.scenario import Scenario
from tests.verdicts import episodes
from tests.verdicts.golden import FIELD, is_right, play, read_table, scenarios, without_marks

TABLE = read_table()
SCENARIOS = dict(scenarios())


SOONER = 4
"""Every so many-th episode is played by `make test`, the others by `make soak`."""


def _params() -> Iterator[object]:
    """Give all but those that `tests/field` plays."""
    for name, each in SCENARIOS.items():
        waits = name.startswith("episodes/") and int(name.rpartition("-")[2]) % SOONER
        if not name.startswith(f"{FIELD.name}/") and tries(not waits, True):
            yield pytest.param(name, each, id=name, marks=[pytest.mark.soak] if waits else [])


@pytest.mark.parametrize(("name", "scenario"), list(_params()))
def test_it_comes_out_as_the_table_says(name: str, scenario: Scenario) -> None:
    known, played = TABLE.get(name, {}), play(scenario)
    assert not is_right(played, known), "no longer wrong: take the mark away and write the table again"
    assert played == without_marks(known), "if it should: python -m tests.verdicts.golden --write"


def test_the_table_has_every_scenario_and_no_other() -> None:
    assert list(TABLE) == list(SCENARIOS)


def test_what_is_unexpected_or_marked_says_why() -> None:
    for name, known in TABLE.items():
        assert ("wrong" in known) == ("right" in known), f"{name}: wrong and right come together"
        assert set(known.get("right", {})) <= {*SAID}, f"{name}: right names what no row has"


SAID = ("incidents", "evicted", "refused", "pages", "stopped", "resumes", "order", "trains")


def test_the_episodes_are_what_their_seeds_give() -> None:
    assert episodes.FILE.read_text() == episodes.text()


def test_an_episode_is_another_for_another_seed() -> None:
    assert episodes.Episode(1).document(0) != episodes.Episode(2).document(0)
