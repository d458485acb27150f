"""Which buttons stand below a page, by what is so now, and what it says of presses."""

from collections.abc import Callable
from pathlib import Path

import pytest
from small_cluster import Cluster

from sentinel.model.action import Page
from sentinel.model.fact import Commanded, Fact
from sentinel.model.policy import Policy
from sentinel.runtime.addressed import addressed
from sentinel.runtime.slack_buttons import controls


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """One in which nothing is done yet for a GPU that failed."""
    made = Cluster(tmp_path, Policy())
    made.trains()
    made.tell(said("stop-actions", ""))
    made.breaks(made.home)
    return made


def said(command: str, target: str, until_s: float = 0.0) -> Callable[[float], Fact]:
    return lambda at: Commanded(at, command, target, "ann", "a drill", at + until_s if until_s else 0.0)


def page(cluster: Cluster) -> Page:
    [*_, newest] = [each for each in cluster.performed if isinstance(each, Page)]
    return addressed(newest, cluster.ledger.state)


def labels(cluster: Cluster, shown: Page | None = None) -> list[str]:
    found = controls(shown or page(cluster), cluster.ledger.state)
    return [each.label for each in found.buttons]


def lines(cluster: Cluster) -> str:
    return "\n".join(controls(page(cluster), cluster.ledger.state).said)


def test_an_open_page_of_one_node(cluster: Cluster) -> None:
    node, judges = cluster.home, ["Not this node…", "Not this cause…"]
    silence = f"Silence {node} for 1 h"
    assert labels(cluster) == ["Acknowledge", silence, "Resume actions", *judges]
    assert lines(cluster) == "Actions are stopped: ann: a drill"
    cluster.tell(said("ack", "I-0001"), said("silence", node, 3600.0))
    assert labels(cluster) == ["Resume actions", *judges]
    assert f"{node} is silenced until" in lines(cluster)
    cluster.tell(said("unsilence", node), said("right", "I-0001"))
    assert labels(cluster) == [silence, "Resume actions", *judges]
    assert "ann: right: a drill" in lines(cluster)
    cluster.tell(said("not-node", "I-0001"))
    assert labels(cluster) == [silence, "Resume actions", "Not this cause…"]


def test_a_node_that_is_out_can_be_proven_and_what_goes_on_can_be_stopped(cluster: Cluster) -> None:
    node = cluster.home
    cluster.advances = False  # it has not recovered, so it is open
    cluster.tell(said("resume-actions", ""))
    assert f"Undrain {node}" in labels(cluster)
    assert "Stop actions" in labels(cluster)
    assert "Resume actions" not in labels(cluster)
    cluster.tell(said("prove", node))
    assert f"Undrain {node}" not in labels(cluster)
    assert f"{node}: its proof is under way, asked for by ann" in lines(cluster)


def test_a_page_that_blames_nobody_or_whose_incident_is_forgotten(cluster: Cluster) -> None:
    shown = page(cluster)
    cluster.ledger.state.incidents.drop(shown.incident)
    assert labels(cluster, shown) == ["Resume actions", "Not this node…", "Not this cause…"]
    cluster.tell(said("resume-actions", ""))
    assert labels(cluster, shown) == ["Not this node…", "Not this cause…"]
    unknown = Page(shown.id, shown.incident, 1, "t", "b", "open", cause="unknown")
    assert labels(cluster, unknown) == []
    news = Page(shown.id, shown.incident, 1, "t", "b", "resolved", cause="x", news="Morning digest")
    assert labels(cluster, news) == []
