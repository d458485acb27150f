"""Incidents and evictions become annotations in Grafana: each once, with its begin, its end and its entry."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_cluster import Cluster

from sentinel import config, runbooks
from sentinel.adapters import grafana as adapter
from sentinel.adapters.grafana import Annotations
from sentinel.adapters.page_channel import Sender
from sentinel.core.state import Rules
from sentinel.model.fact import Commanded
from sentinel.model.policy import Policy
from sentinel.runtime.annotator import LATEST_S, Annotator
from tests.adapters.annotation_server import TOKEN, Grafana, serving
from tests.adapters.pagers import QUICK

SENDER = Sender("blue", "http://head", "j1")
RULES = Rules(Policy(), runbooks.load())


@pytest.fixture
def grafana(monkeypatch: pytest.MonkeyPatch) -> Iterator[Grafana]:
    monkeypatch.setattr(adapter, "WITHIN_S", 0.5)
    with serving() as found:
        yield found


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    made = Cluster(tmp_path, Policy())
    made.trains()
    return made


class Desk:
    """A controller's life as far as annotations go; another one goes on in the same folder."""

    def __init__(self, folder: Path, cluster: Cluster, grafana: Grafana, token: str = TOKEN) -> None:
        self.late = 0.0
        self.annotator = Annotator(
            folder,
            Annotations(grafana.url, token),
            SENDER,
            lambda: (cluster.ledger.state, RULES, cluster.at + self.late),
            QUICK,
        )

    def until(self, condition: Callable[[], bool]) -> None:
        """Annotate until it has come true."""

        async def drive() -> None:
            self.annotator.look()
            run = asyncio.create_task(self.annotator.run())
            async with asyncio.timeout(20):
                while not condition():
                    assert not run.done(), run
                    await asyncio.sleep(0.01)
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

        asyncio.run(drive())


def by_kind(grafana: Grafana) -> dict[str, dict[str, object]]:
    assert len(grafana.there) <= 2, grafana.there
    return {each["tags"][1]: each for each in grafana.there.values()}


def loses_a_gpu(cluster: Cluster) -> tuple[str, float]:
    """Give which node is evicted, and when that began."""
    node, began = cluster.home, cluster.at + 0.01
    cluster.breaks(node)
    return node, began


def is_readmitted(cluster: Cluster, node: str) -> None:
    cluster.tell(lambda at: Commanded(at, "undrain", node, "ann", "a new GPU", 0.0))
    cluster.pass_time()


def test_an_incident_and_its_eviction_begin_and_end(
    tmp_path: Path, cluster: Cluster, grafana: Grafana
) -> None:
    desk = Desk(tmp_path, cluster, grafana)
    node, began = loses_a_gpu(cluster)
    desk.until(lambda: len(grafana.there) == 2)
    found = by_kind(grafana)
    assert found["incident"]["time"] == found["eviction"]["time"] == round(began * 1000)
    assert not any("timeEnd" in each for each in found.values())
    assert found["incident"]["tags"] == [
        "sentinel",
        "incident",
        "cluster:blue",
        "incident:I-0001",
        "cause:gpu-ecc",
        "job:moe",
        f"node:{node}",
        "entry:blue/j1/I-0001",
    ]
    assert str(found["incident"]["text"]).endswith('<a href="http://head/logbook/I-0001">I-0001</a>')
    assert str(found["eviction"]["text"]).startswith(f"{node} is out of use: ")
    cluster.pass_time()
    desk.until(lambda: "timeEnd" in by_kind(grafana)["incident"])
    resolved = cluster.ledger.state.incidents["I-0001"].times["resolved"]
    assert by_kind(grafana)["incident"]["timeEnd"] == round(resolved * 1000)
    assert "timeEnd" not in by_kind(grafana)["eviction"], "the node is still out"


def test_an_eviction_ends_with_the_nodes_return_also_after_a_restart(
    tmp_path: Path, cluster: Cluster, grafana: Grafana
) -> None:
    node, _ = loses_a_gpu(cluster)
    Desk(tmp_path, cluster, grafana).until(lambda: len(grafana.there) == 2)
    is_readmitted(cluster, node)
    assert cluster.ledger.state.nodes[node].cordon is None
    Desk(tmp_path, cluster, grafana).until(lambda: all("timeEnd" in each for each in grafana.there.values()))
    again = Desk(tmp_path, cluster, grafana)
    asked = len(grafana.asked)
    again.annotator.look()
    assert (grafana.made, len(grafana.asked)) == (2, asked)


@pytest.mark.parametrize("failures", [[500], [429], ["held"], ["silent"], [403], ["held", 500, 500]])
def test_each_arrives_once_whatever_fails(
    tmp_path: Path, cluster: Cluster, grafana: Grafana, failures: list[int | str]
) -> None:
    loses_a_gpu(cluster)
    grafana.script.extend(failures)
    Desk(tmp_path, cluster, grafana).until(lambda: not grafana.script and len(grafana.there) == 2)
    cluster.pass_time()
    grafana.script.extend(failures)
    Desk(tmp_path, cluster, grafana).until(
        lambda: not grafana.script and "timeEnd" in by_kind(grafana)["incident"]
    )
    assert grafana.made == 2


def test_whoever_dies_between_call_and_answer_makes_no_second_one(
    tmp_path: Path, cluster: Cluster, grafana: Grafana
) -> None:
    loses_a_gpu(cluster)
    grafana.script.append("held")
    Desk(tmp_path, cluster, grafana).until(lambda: grafana.made == 1)
    Desk(tmp_path, cluster, grafana).until(lambda: len(grafana.there) == 2)
    assert grafana.made == 2


def test_one_that_somebody_removed_disturbs_no_other(
    tmp_path: Path, cluster: Cluster, grafana: Grafana
) -> None:
    node, _ = loses_a_gpu(cluster)
    desk = Desk(tmp_path, cluster, grafana)
    desk.until(lambda: len(grafana.there) == 2)
    grafana.there.clear()
    cluster.pass_time()
    is_readmitted(cluster, node)
    desk.until(lambda: sum("timeEnd" in each for each in grafana.there.values()) == 2)


@pytest.mark.parametrize(
    ("token", "path", "said"),
    [
        ("glsa_wrong", "", "pages.grafana_token is not accepted (HTTP 401: Invalid API key)"),
        (TOKEN, "/grafana", "pages.grafana_url has no /api/annotations (HTTP 404: Not found)"),
    ],
)
def test_what_is_refused_is_one_line_with_its_key(
    tmp_path: Path,
    cluster: Cluster,
    grafana: Grafana,
    capsys: pytest.CaptureFixture[str],
    token: str,
    path: str,
    said: str,
) -> None:
    loses_a_gpu(cluster)
    right, grafana.url = grafana.url, grafana.url + path
    Desk(tmp_path, cluster, grafana, token).until(lambda: len(grafana.asked) > 3)
    assert capsys.readouterr().out.count(said) == 1
    grafana.url = right
    Desk(tmp_path, cluster, grafana).until(lambda: len(grafana.there) == 2)


def test_what_was_over_long_ago_is_not_told(tmp_path: Path, cluster: Cluster, grafana: Grafana) -> None:
    loses_a_gpu(cluster)
    cluster.pass_time()
    desk = Desk(tmp_path, cluster, grafana)
    desk.late = LATEST_S + 1.0
    desk.until(lambda: len(grafana.there) == 1)
    assert list(by_kind(grafana)) == ["eviction"]


def test_a_token_needs_an_address(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="pages: grafana_url is empty: say where the annotations go"):
        config.load(None, {"SENTINEL_PAGES__GRAFANA_TOKEN": "glsa_x"})
    (tmp_path / "sentinel.toml").write_text('[pages]\ngrafana_token = "glsa_x"\n')
    with pytest.raises(config.ConfigError, match="give it as SENTINEL_PAGES__GRAFANA_TOKEN"):
        config.load(tmp_path / "sentinel.toml", {})
