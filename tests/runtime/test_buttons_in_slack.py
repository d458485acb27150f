"""People press buttons in Slack: a real controller, its slack link, and a local Slack with Socket Mode."""

from collections.abc import Iterator

import pytest
from slack_cluster import Cluster, labels, shown, slack_cluster

from tests.adapters.slack_process import until


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests, in their order: what one did the next one sees."""
    with slack_cluster(tmp_path_factory.mktemp("slack")) as made:
        made.controller()
        made.agent()
        made.listens()
        made.loses_a_gpu()
        yield made


def test_who_presses_acknowledge_is_in_the_message(cluster: Cluster) -> None:
    cluster.press("Acknowledge")
    until(lambda: "Acknowledged by ann (Slack U0ANN)" in shown(cluster.message()))
    until(lambda: "Acknowledge" not in labels(cluster.message()))
    [incident] = cluster.status()["incidents"]
    assert incident["acked_by"] == "ann (Slack U0ANN)"
    cluster.hears("Done: ack I-0001")
