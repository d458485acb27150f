"""Histograms, the ledger's figures, links as last measured, and the file for discovery: what each tells."""

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from small_cluster import Cluster

from sentinel.core.state.rows import Baseline, Measured
from sentinel.model.collective import MemberSample
from sentinel.model.fact import MembersProbed
from sentinel.model.ids import ActionId, IncidentId, NodeId
from sentinel.model.policy import Policy
from sentinel.runtime import targets_file
from sentinel.runtime.baseline_metrics import MOST, BaselineMetrics
from sentinel.runtime.ledger_metrics import LedgerMetrics
from sentinel.runtime.link_metrics import SLOWEST, WHOLE, LinkMetrics
from sentinel.runtime.stage_times import StageTimes


def values(families: Iterable[Metric]) -> dict[tuple[str, ...], float]:
    """Each sample's value by its name without the prefix, and its labels."""
    return {
        (sample.name.removeprefix("sentinel_"), *sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


def test_each_stage_of_an_incident_is_observed_once(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, Policy())
    times = StageTimes(cluster.ledger.state.incidents.values())
    cluster.ledger.changed = lambda _fact, _actions: times.changed(cluster.ledger.state)
    assert values(times.collect())["incident_stage_seconds_count", "evicted"] == 0
    cluster.trains()
    cluster.breaks(cluster.home)
    cluster.pass_time()
    found = values(times.collect())
    counts = {key[1]: value for key, value in found.items() if key[0] == "incident_stage_seconds_count"}
    assert counts["detected"] == counts["diagnosed"] == counts["evicted"] == counts["new_step"] == 1
    assert found["incident_stage_seconds_bucket", "evicted", "1.0"] == 1


def test_a_controller_that_takes_over_observes_nothing_again(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, Policy())
    cluster.trains()
    cluster.breaks(cluster.home)
    state = cluster.restarted(tmp_path, Policy()).ledger.state
    times = StageTimes(state.incidents.values())
    times.changed(state)
    assert state.incidents
    found = values(times.collect())
    assert {value for key, value in found.items() if key[0].endswith("_count")} == {0}


def test_the_ledger_says_how_long_it_took_and_what_waits(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, Policy())
    metrics = LedgerMetrics(cluster.ledger)
    cluster.trains()
    found = values(metrics.collect())
    assert found["fold_seconds_count",] > 0
    assert found["journal_commit_seconds_count",] > 0
    assert found["journal_lines_total",] == cluster.journal.last_seq
    assert found["journal_size_bytes",] > 0
    assert (found["journal_failing",], found["journal_uncommitted_facts",]) == (0, 0)
    cluster.journal.close()
    cluster.breaks(cluster.home)
    found = values(metrics.collect())
    assert found["journal_failing",] == 1
    assert found["journal_uncommitted_facts",] > 0


def probed(speeds: dict[tuple[str, ...], float], check: str = "pair", at: float = 5.0) -> MembersProbed:
    samples = [
        MemberSample(NodeId(node), tuple(map(NodeId, members)), {"mb_per_s": speed, "ms": 0.5})
        for members, speed in speeds.items()
        for node in members
    ]
    return MembersProbed(at, ActionId("a"), IncidentId("I-1"), check, tuple(samples), ())


def test_links_are_told_as_last_measured() -> None:
    links = LinkMetrics()
    links.changed(probed({("n1", "n2"): 100.0, ("n1", "n3"): 50.0}))
    links.changed(probed({("n2", "n1"): 80.0}, at=9.0))
    links.changed(probed({("n1", "n2", "n3"): 42.0, ("n1", "n2"): 60.0}, "all_reduce"))
    found = values(links.collect())
    assert found["link_bandwidth_bytes_per_second", "n1", "n2"] == 80e6
    assert found["link_latency_seconds", "n1", "n3"] == 0.0005
    assert found["node_link_bandwidth_bytes_per_second", "n1", "median"] == 65e6
    assert found["node_link_bandwidth_bytes_per_second", "n3", "min"] == 50e6
    assert found["all_reduce_bandwidth_bytes_per_second", "n3"] == 42e6
    assert (
        found["links_measured_time_seconds", "pair"],
        found["links_measured_time_seconds", "all_reduce"],
    ) == (
        9.0,
        5.0,
    )


@pytest.mark.parametrize("nodes", [WHOLE, WHOLE + 1, 100])
def test_the_series_of_links_are_bounded_and_the_slowest_are_among_them(nodes: int) -> None:
    links, names = LinkMetrics(), [f"n{n:03}" for n in range(nodes)]
    pairs = {(one, other): 1000.0 for one in names for other in names if one < other}
    pairs["n003", "n007"] = 10.0
    links.changed(probed(pairs))
    found = values(links.collect())
    told = [key for key in found if key[0] == "link_bandwidth_bytes_per_second"]
    assert len(told) == (nodes * (nodes - 1) // 2 if nodes <= WHOLE else SLOWEST)
    assert found["link_bandwidth_bytes_per_second", "n003", "n007"] == 10e6


def test_what_was_not_measured_is_not_told() -> None:
    links = LinkMetrics()
    silent = MemberSample(NodeId("n1"), (NodeId("n1"), NodeId("n2")), error="no answer")
    links.changed(MembersProbed(5.0, ActionId("a"), IncidentId("I-1"), "pair", (silent,), ()))
    assert set(values(links.collect()).values()) == {0.0}


def baseline(*values: float, at: float = 5.0) -> Baseline:
    return Baseline(tuple(Measured(NodeId(f"n{n}"), at, (each, each)) for n, each in enumerate(values)))


def test_what_the_fleet_usually_measures_is_told_once_enough_is_known() -> None:
    known = {
        "gemm|NVIDIA H200|bf16_tflops": baseline(650.0, 652.0, 656.0, 658.0),
        "pair|gloo, 10000 Mbit/s|mb_per_s": baseline(1000.0),
    }
    found = values(BaselineMetrics(lambda: known, Policy(), lambda: 9.0).collect())
    h200 = "gemm", "NVIDIA H200", "bf16_tflops"
    assert (found["baseline", *h200, "median"], found["baseline", *h200, "mad"]) == (654.0, 3.0)
    assert found["baseline_nodes", *h200] == 4
    assert found["baseline_nodes", "pair", "gloo, 10000 Mbit/s", "mb_per_s"] == 1
    assert len(found) == 4


def test_the_series_of_baselines_are_bounded_and_the_newest_are_among_them() -> None:
    known = {f"gemm|GPU {n}|bf16_tflops": baseline(1.0, 1.0, 1.0, 1.0, at=n) for n in range(2 * MOST)}
    found = values(BaselineMetrics(lambda: known, Policy(), lambda: 900.0).collect())
    assert len(found) == 3 * MOST
    assert ("baseline_nodes", "gemm", f"GPU {2 * MOST - 1}", "bf16_tflops") in found


def test_the_file_for_discovery_is_whole_and_for_everybody_to_read(tmp_path: Path) -> None:
    file = tmp_path / "sentinel.json"
    targets_file.write(file, json.dumps([{"targets": ["n1:1"]}]))
    targets_file.write(file, "[]\n")
    assert file.read_text() == "[]\n"
    assert file.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [file]
