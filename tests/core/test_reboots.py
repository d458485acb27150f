"""Nodes that start again: by themselves, as announced, or only with another agent."""

import pytest
from simulated import Simulated

from sentinel.core.detect.watch import Watch
from sentinel.core.settle.why import why
from sentinel.model.action import Page
from sentinel.model.fact import Commanded, Fact, FindingReported, NodeJoined, RankExited
from sentinel.model.ids import NodeId
from sentinel.model.report import Hello

OLD, NEW = "0a1b-4c5d", "9f8e-7d6c"
"""Boot ids of kernels; an agent's own start is told behind them."""


class Cluster(Simulated):
    """A cluster whose nodes introduce themselves as agents do."""

    def __init__(self, nodes: int = 4, *, min_world: int = 1) -> None:
        super().__init__(nodes, min_world=min_world)
        self.watch = Watch(self.rules.policy, self.now)
        self.starts = 0
        for node in sorted(self.state.nodes):
            self.introduce(node, OLD)

    def introduce(self, node: NodeId, kernel: str) -> list[Fact]:
        """A node's new agent says hello; gives what that tells."""
        self.starts += 1
        known = self.state.nodes[node]
        hello = Hello(node, f"{kernel}-{self.starts}", known.address, known.port, known.gpus)
        facts = self.watch.hello(hello, self.state, self.now)
        for fact in facts:
            self.tell(fact)
        return facts


@pytest.mark.parametrize("symptom", ["none", "exit", "collective", "stall"])
def test_a_node_that_starts_again_by_itself_is_why_its_ranks_ended(symptom: str) -> None:
    cluster = Cluster()
    node = cluster.node(0)
    if symptom == "exit":
        cluster.crash(0, "unknown")
    elif symptom == "collective":
        cluster.raises(1, kind="collective")
    elif symptom == "stall":
        cluster.stall(cluster.beat(1))
    cluster.introduce(node, NEW)
    cluster.run(20)
    assert (cluster.causes(), cluster.evicted(), len(cluster.pages())) == (["node-rebooted"], [], 1)
    assert cluster.going()
    assert [found.finding.code for found in cluster.at(node).recent] == ["started-again"]
    body = cluster.all(Page)[-1].body
    assert (node in body, "nobody had announced" in body) == (True, True)
    cluster.settle()
    assert cluster.stages() == ["resolved"]


def test_another_agent_of_the_same_kernel_is_no_reboot() -> None:
    cluster = Cluster()
    node = cluster.node(0)
    assert [type(fact) for fact in cluster.introduce(node, OLD)] == [NodeJoined]
    cluster.run(20)
    assert (cluster.causes(), cluster.resumed()) == ([], [])


def test_a_reboot_that_was_announced_accuses_nobody() -> None:
    cluster = Cluster(nodes=2, min_world=2)
    node = cluster.node(0)
    cluster.tell(Commanded(cluster.now, "maintain", node, "ann", "", cluster.now + 3600))
    facts = cluster.introduce(node, NEW)
    assert not any(isinstance(fact, FindingReported) for fact in facts)
    assert any(isinstance(fact, RankExited) for fact in facts)
    cluster.run(4000)
    assert (cluster.causes(), cluster.evicted(), cluster.going()) == ([], [], True)


@pytest.mark.parametrize("ports", [("refused", "refused", -1), ("timeout", "timeout", -1)])
def test_a_node_that_was_given_up_and_comes_back_stays_out_and_says_why(ports: tuple[str, str, int]) -> None:
    cluster = Cluster()
    node = cluster.node(0)
    cluster.ports[node] = ports
    cluster.raises(1, kind="collective")
    cluster.silence(node)
    cluster.run(60)
    causes, deeds = cluster.causes(), len(cluster.resumed())
    cluster.introduce(node, NEW)
    cluster.run(60)
    assert (cluster.causes(), cluster.evicted()) == (causes, [node])
    assert [found.finding.code for found in cluster.at(node).recent] == ["started-again"]
    assert len(cluster.resumed()) == deeds
    assert len(cluster.pages()) == 1


def test_a_spare_that_starts_again_is_in_its_history_and_no_incident() -> None:
    cluster = Cluster()
    spare = cluster.spare()
    cluster.introduce(spare, NEW)
    cluster.run(20)
    assert (cluster.causes(), cluster.evicted()) == ([], [])
    assert [found.finding.code for found in cluster.at(spare).recent] == ["started-again"]
    said = [reason.text for reason in why(spare, cluster.state, cluster.rules, cluster.now) or ()]
    assert any("nobody had announced" in text for text in said), "and `status --why` says so"
    assert any(worker.is_living for worker in cluster.workers if worker.node == spare), "a new standby"


def test_a_drained_node_that_starts_again_is_in_peoples_hands() -> None:
    cluster = Cluster(nodes=5)
    node = cluster.spare()
    cluster.command("drain", node)
    cluster.run(5)
    cluster.introduce(node, NEW)
    cluster.run(20)
    assert (cluster.causes(), cluster.pages()) == ([], set())


def test_a_node_that_starts_again_and_again_under_its_ranks_is_evicted() -> None:
    cluster = Cluster(nodes=2)
    node = cluster.node(0)
    for turn in range(cluster.rules.policy.crashes_per_hour):
        assert (cluster.evicted(), cluster.going()) == ([], True)
        cluster.introduce(node, f"kernel-{turn}")
        cluster.run(400)
    assert (cluster.evicted(), cluster.causes()[-1], cluster.going()) == ([node], "crash-loop", True)
