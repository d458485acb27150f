"""What the fleet has measured outlives controllers, and the lines of the journal that told it."""

from pathlib import Path

import pytest
from small_cluster import Cluster

from sentinel.checks import load_collective
from sentinel.model.collective import MemberSample, Standing
from sentinel.model.fact import MembersProbed
from sentinel.model.ids import ActionId, IncidentId, NodeId
from sentinel.model.policy import Policy
from sentinel.runtime.members import fleet_of
from sentinel.runtime.probe import Judged, judged

GEMM = load_collective()["gemm"]


def measures(cluster: Cluster, node: str, rate: float) -> Judged:
    """Have a node measure `gemm`, as a probe does, and learn it."""
    fleet = fleet_of(cluster.ledger.state, Policy(), lambda: cluster.at)
    values = {f"gpu-{number}|NVIDIA H200|bf16_tflops": rate + number for number in range(8)}
    sample = MemberSample(NodeId(node), (NodeId(node),), values, about={"driver": "580.65"})
    found = judged(GEMM, [sample], fleet)
    about = ActionId("by-hand-1"), IncidentId(""), "gemm", (sample,), found.findings
    cluster.tell(lambda at: MembersProbed(at, *about, held=found.held))
    return found


@pytest.mark.parametrize("saved", [False, True], ids=["folded again", "compacted"])
def test_a_controller_that_takes_over_knows_what_is_usual(tmp_path: Path, saved: bool) -> None:
    cluster = Cluster(tmp_path, Policy())
    for number in range(4):
        assert not measures(cluster, f"n{number}", 780.0 + number).findings
    if saved:
        cluster.ledger.save()
        cluster.journal.compact((), older_than=cluster.at + 1.0)
        assert not list(cluster.journal.lines(after=cluster.journal.first_seq() - 1))
    cluster = cluster.restarted(tmp_path, Policy())
    found = measures(cluster, "new", 600.0)
    assert {each.standing for each in found.held} == {Standing.BEHIND}
    assert {each.finding.code for each in found.findings} == {"gpu-slow"}
    assert len(found.findings) == 8


def test_what_a_judge_said_of_a_device_itself_is_not_said_twice(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, Policy())
    for number in range(4):
        measures(cluster, f"n{number}", 780.0)
    values = {f"gpu-{number}|NVIDIA H200|h2d_gb_per_s": 55.0 - 20.0 * (number == 3) for number in range(8)}
    sample = MemberSample(NodeId("new"), (NodeId("new"),), values)
    found = judged(GEMM, [sample], fleet_of(cluster.ledger.state, Policy(), lambda: cluster.at))
    assert [each.finding.component for each in found.findings] == ["gpu-3"]


@pytest.mark.parametrize("value", [float("nan"), 0.0, -1.0])
def test_a_figure_that_is_none_leaves_the_judge_without_an_opinion(value: float) -> None:
    sample = MemberSample(NodeId("n1"), (NodeId("n1"),), {"gpu-0|NVIDIA H200|bf16_tflops": value})
    found = judged(GEMM, [sample])
    assert (found.findings, found.held, found.error) == ((), (), "ValueError: a figure is a number above 0")
