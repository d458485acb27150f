"""What the pages say in words and numbers."""

from dataclasses import replace

import pytest
from sample_cluster import INCIDENT, JOB, QUIET, TROUBLE

from sentinel.logbook.row import Row
from sentinel.model.finding import Health
from sentinel.web.pages import MOST_CHIPS, duration, entry_page, spark, split, status_page, timeline
from sentinel.web.ranges import ranges
from sentinel.web.verdict import Level, verdict
from sentinel.web.view import NodeView, Status


@pytest.mark.parametrize(
    ("status", "level", "headline"),
    [
        pytest.param(QUIET, Level.GOOD, "All is well", id="quiet"),
        pytest.param(TROUBLE, Level.BAD, INCIDENT.title, id="the job does not train"),
        pytest.param(
            replace(QUIET, incidents=(INCIDENT,)), Level.NOTICE, INCIDENT.title, id="mitigating, job trains"
        ),
        pytest.param(
            replace(QUIET, incidents=(replace(INCIDENT, stage="open"),)),
            Level.BAD,
            INCIDENT.title,
            id="nobody has it",
        ),
        pytest.param(
            replace(QUIET, incidents=(INCIDENT, INCIDENT)), Level.NOTICE, "2 open incidents", id="several"
        ),
        pytest.param(
            replace(QUIET, frozen="the journal's disk is full"),
            Level.NOTICE,
            "Sentinel is not acting",
            id="frozen",
        ),
        pytest.param(replace(QUIET, stopped="ada"), Level.NOTICE, "Sentinel is not acting", id="stopped"),
        pytest.param(
            replace(QUIET, observe_only=True), Level.NOTICE, "Sentinel is not acting", id="observing"
        ),
        pytest.param(
            replace(QUIET, jobs=(replace(JOB, wanted=9),)),
            Level.NOTICE,
            "No open incident, but look here",
            id="shrunk",
        ),
        pytest.param(
            replace(QUIET, ray_trouble="the token is wrong"),
            Level.NOTICE,
            "No open incident, but look here",
            id="Ray is away",
        ),
        pytest.param(Status(0.0, "a", 0.0), Level.GOOD, "All is well", id="nothing there yet"),
        pytest.param(
            replace(QUIET, nodes=(replace(QUIET.nodes[0], health=Health.WARNING), *QUIET.nodes[1:])),
            Level.GOOD,
            "Training goes on",
            id="a warning",
        ),
        pytest.param(
            replace(QUIET, nodes=(replace(QUIET.nodes[0], maintained="ann"),), jobs=()),
            Level.GOOD,
            "No incident is open",
            id="in maintenance, and no job",
        ),
        pytest.param(
            replace(QUIET, left=("node-3 is out and awaits repair",)),
            Level.GOOD,
            "Training goes on",
            id="left for people",
        ),
    ],
)
def test_the_verdict_says_the_worst_first(status: Status, level: Level, headline: str) -> None:
    found = verdict(status)
    assert (found.level, found.headline) == (level, headline)


LOOKS = {
    "silent": {"silent": True},
    "cordon": {"cordon": "fans (operator ann)"},
    "maintained": {"maintained": "ann"},
    "warning": {"health": Health.WARNING},
    "unknown": {"health": Health.UNKNOWN},
    "critical": {"health": Health.CRITICAL},
}


@pytest.mark.parametrize("how", LOOKS)
def test_all_is_well_never_stands_above_something_to_look_at(how: str) -> None:
    status = replace(QUIET, nodes=(replace(QUIET.nodes[0], **LOOKS[how]), *QUIET.nodes[1:]))
    assert "1 to look at" in status_page(status)
    assert "All is well" not in status_page(status)
    assert "All is well" in status_page(QUIET)


@pytest.mark.parametrize("status", [QUIET, TROUBLE, replace(QUIET, frozen="the disk is full")])
def test_whatever_the_verdict_is_it_says_what_is_left_and_which_job_is_degraded(status: Status) -> None:
    small = (replace(JOB, wanted=9),)
    details = verdict(replace(status, left=("node-3 awaits repair",), jobs=small)).details
    assert "node-3 awaits repair" in details
    assert "moe is degraded: it trains with 8 of 9 ranks." in details
    forming = (replace(small[0], stage="forming"),)
    assert "moe is degraded: it forms with 8 of 9 ranks." in verdict(replace(status, jobs=forming)).details
    for jobs in (small, forming):
        assert 'notice">degraded<' in status_page(replace(status, jobs=jobs))
    assert 'notice">degraded<' not in status_page(status)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "never"),
        (-0.2, "0.0 s"),
        (0.44, "0.4 s"),
        (42.0, "42 s"),
        (200.0, "3 min 20 s"),
        (18_120.0, "5 h 02 min"),
        (273_700.0, "3 d 4 h"),
    ],
)
def test_durations_are_for_people(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("numbers", "text"),
    [([], ""), ([3], "3"), ([2, 0, 1, 7], "0-2, 7"), (range(3000), "0-2999")],
)
def test_ranks_are_written_as_ranges(numbers: list[int], text: str) -> None:
    assert ranges(numbers) == text


def test_nodes_to_look_at_come_first_in_their_natural_order() -> None:
    nodes = [NodeView(name, Health.OK, 0.1) for name in ("node-10", "node-9", "head")]
    nodes.append(NodeView("node-11", Health.UNKNOWN, None))
    troubled, quiet = split(nodes)
    assert [node.node for node in troubled] == ["node-11"]
    assert [node.node for node in quiet] == ["head", "node-9", "node-10"]


@pytest.mark.parametrize(
    ("losses", "points"),
    [
        pytest.param((), 0, id="none"),
        pytest.param(((1, 2.0),), 0, id="one"),
        pytest.param(((1, 2.0), (2, float("nan")), (3, 1.0)), 2, id="a NaN is left out"),
        pytest.param(((1, 2.0), (2, 2.0)), 2, id="flat"),
    ],
)
def test_the_loss_is_drawn_from_what_is_finite(losses: tuple[tuple[int, float], ...], points: int) -> None:
    drawn = spark(losses)
    assert len(drawn.split()) == points
    assert "nan" not in drawn


def test_what_is_typed_looks_so_and_what_others_say_stays_text() -> None:
    left = "n2 is out; `sentinel undrain n2`; it says `<b>`, <i>x</i> and ` alone"
    page = status_page(replace(QUIET, incidents=(replace(INCIDENT, left=(left,)),)))
    assert "n2 is out; <code>sentinel undrain n2</code>;" in page
    assert "<code>&lt;b&gt;</code>, &lt;i&gt;x&lt;/i&gt; and ` alone" in page


def test_many_nodes_are_a_heat_map_that_can_be_read_aloud() -> None:
    nodes = tuple(NodeView(f"n{n}", Health.OK, 0.1) for n in range(MOST_CHIPS))
    few = status_page(replace(QUIET, nodes=nodes))
    assert 'class="heat"' not in few
    assert 'class="chips"' in few
    away = NodeView("n9a", Health.CRITICAL, 0.2, cordon="I-0007: its GPU is lost")
    page = status_page(replace(QUIET, nodes=(*nodes, away)))
    assert 'class="chips"' not in page
    assert page.count('title="n') == MOST_CHIPS + 1
    assert "<span>n9a: critical, cordoned, no rank</span>" in page


def test_a_page_draws_what_the_entrys_file_has_as_a_table() -> None:
    table = "| stage | after |\n|---|---|\n| seen | +0.00 s |\n"
    text = f"# I-1\n\n## Seconds to each stage\n\n{table}\n## Evidence\n\nx\n"
    row = Row("I-1", 0.0, "open", "", "", "", "", {"detected": 0.0, "diagnosed": 1.0}, None, None, (), (), "")
    drawn, plain = entry_page("I-1", text, row), entry_page("I-1", text)
    for page in (drawn, plain):
        assert page.count('id="seconds-to-each-stage"') == 1
        assert 'id="evidence"' in page
    assert "<table>" not in drawn
    assert "<table>" in plain


@pytest.mark.parametrize(
    ("times", "cause", "stages"),
    [
        pytest.param({}, "", [], id="nothing is known"),
        pytest.param({"detected": 0.0}, "", [], id="only its opening"),
        pytest.param(
            {"detected": 0.0, "diagnosed": 1.0},
            "gpu-lost",
            [("seen", 0.0), ("cause named", 1.0)],
            id="a cause that is known",
        ),
        pytest.param(
            {"detected": 0.0, "diagnosed": 1.0},
            "unknown",
            [("seen", 0.0), ("not diagnosed", 1.0)],
            id="a cause that nobody knows is not named",
        ),
        pytest.param(
            {"new_step": 0.3, "detected": 0.0, "paged": 0.5},
            "gpu-lost",
            [("seen", 0.0), ("first new step", 0.3), ("page sent", 0.5)],
            id="in the order in which they came",
        ),
    ],
)
def test_the_timeline_of_an_incident(
    times: dict[str, float], cause: str, stages: list[tuple[str, float]]
) -> None:
    assert timeline(times, cause) == stages
