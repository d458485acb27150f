"""One incident, several breaks: its page and its entry are of the cause that matters most to people."""

from collections.abc import Callable
from itertools import product

import pytest
from seen_by_people import names, newest
from simulated import BOOKS, Simulated, ecc, lost

from sentinel.core.page.severity import worst
from sentinel.core.state.rules import Rules
from sentinel.logbook.entry import row
from sentinel.model.ids import Cause
from sentinel.model.incident import UNKNOWN, Diagnosis, Suspect
from sentinel.model.policy import Policy
from sentinel.terminal import _logbook_row

RULES = Rules(Policy(), BOOKS)
BREAKS: dict[str, Callable[[Simulated, int], None]] = {
    "gpu-lost": lambda cluster, rank: cluster.finding(cluster.node(rank), lost()),
    "gpu-ecc": lambda cluster, rank: cluster.finding(cluster.node(rank), ecc()),
    "rank-crash": lambda cluster, rank: cluster.crash(rank),
    "rank-exception": lambda cluster, rank: cluster.raises(rank),
}


def broken_twice(first: str, second: str, pause: float) -> tuple[Simulated, list[str]]:
    """Two ranks on two nodes break one after the other; gives the cluster and whose nodes they were."""
    cluster = Simulated(6, world=3)
    nodes = [str(cluster.node(0)), str(cluster.node(2))]
    BREAKS[first](cluster, 0)
    cluster.run(pause)
    rank = next(worker.rank for worker in cluster.workers if worker.node == nodes[1] and worker.rank >= 0)
    BREAKS[second](cluster, rank)
    cluster.run(20)
    cluster.settle()
    return cluster, nodes


@pytest.mark.parametrize("pause", [0.4, 5.0], ids=["before the first new step", "after it"])
@pytest.mark.parametrize("first", BREAKS)
@pytest.mark.parametrize("second", BREAKS)
def test_what_matters_most_is_the_title_and_the_runbook_and_both_are_told(
    first: str, second: str, pause: float
) -> None:
    cluster, nodes = broken_twice(first, second, pause)
    (incident,), (page,) = cluster.incidents(), newest(cluster)
    entry = row(incident, BOOKS[Cause(page.cause)])
    found = [Diagnosis(Cause(each), (), 1.0, "") for each in (first, second)]
    main = worst(found[1], found[:1], RULES).cause
    assert (page.cause, entry.cause) == (main, main)
    assert page.title.startswith(BOOKS[Cause(main)].title)
    said = page.title if first == second else f"{page.title}\n{page.body}"
    listed = "\n".join(_logbook_row(plain(entry)))
    for cause, node in zip((first, second), nodes, strict=True):
        assert names(node, said), said  # type: ignore[arg-type]
        assert cause in listed
        assert node in listed


def plain(entry: object) -> dict[str, object]:
    return {name: getattr(entry, name) for name in entry.__dataclass_fields__}  # type: ignore[attr-defined]


def test_a_lost_gpu_is_not_hidden_by_a_rank_that_is_killed_elsewhere() -> None:
    cluster, nodes = broken_twice("gpu-lost", "rank-crash", 0.4)
    (page,) = newest(cluster)
    assert (page.cause, page.severity) == ("gpu-lost", "warning")
    assert any(line.startswith(f"Also: rank-crash, {nodes[1]}") for line in page.body.splitlines())


ORDER = [
    pytest.param(["rank-crash", "gpu-lost"], "gpu-lost", id="a better one comes"),
    pytest.param(["gpu-lost", "rank-crash"], "gpu-lost", id="a node is to be repaired"),
    pytest.param(["unknown", "rank-crash"], "rank-crash", id="what is known goes before what is not"),
    pytest.param(["rank-crash", "unknown"], "rank-crash", id="and after it, too"),
    pytest.param(["gpu-lost", "code-error"], "code-error", id="somebody's hand is needed now"),
    pytest.param(["gpu-lost", "gpu-ecc"], "gpu-lost", id="of equals the first"),
    pytest.param(
        ["crash-loop", "crash-follows-rank"], "crash-follows-rank", id="it explains what was acted on"
    ),
    pytest.param(["raylet-dead", "rank-crash", "gpu-lost"], "gpu-lost", id="of three"),
]


@pytest.mark.parametrize(("causes", "expected"), ORDER)
def test_which_cause_matters_most(causes: list[str], expected: str) -> None:
    found = [Diagnosis(Cause(cause), (Suspect(rank=place),), 1.0, "") for place, cause in enumerate(causes)]
    assert worst(found[-1], found[:-1], RULES).cause == expected


def test_of_every_pair_the_more_urgent_is_told_and_stays_told_when_the_same_breaks_come_again() -> None:
    urgent = ["critical", "warning", "info"]
    known = [book for book in BOOKS.values() if book.cause != UNKNOWN]
    for first, second in product(known, known):
        one, other = (Diagnosis(book.cause, (), 1.0, "") for book in (first, second))
        told = worst(other, [one], RULES)
        if first.cause not in second.explains:
            grades = [urgent.index(book.severity) for book in (first, second)]
            assert urgent.index(BOOKS[told.cause].severity) == min(grades), (one, other)
            if second.cause not in first.explains:
                assert worst(one, [one, other], RULES).cause == told.cause, (one, other)


def test_of_several_breaks_each_is_told_how_long_it_took() -> None:
    cluster = Simulated()
    for pause in (3.0, 20.0):
        cluster.crash(0)
        cluster.run(pause)
    cluster.settle()
    (incident,), (page,) = cluster.incidents(), newest(cluster)
    entry = row(incident)
    assert len(entry.again) == 1
    assert 0 < entry.again[0] < 3
    assert f"Broke again 3.0 s after it was seen, and stepped {entry.again[0]:.1f} s later" in page.body
    lost_s = entry.gpu_seconds_lost
    assert lost_s == pytest.approx(2 * (entry.times["new_step"] + entry.again[0]))
    assert len(_logbook_row(plain(entry))[4].splitlines()) == 2
