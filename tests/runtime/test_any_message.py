"""Whatever somebody with one agent's key says, the controller goes on and freezes nothing."""

import os
from pathlib import Path

import pytest
from hostile import NODE, Hostile
from small_cluster import Cluster

from sentinel.adapters.report_parts import read_by_part
from sentinel.core.watch import Watch
from sentinel.model.codec import CodecError, decode
from sentinel.model.policy import Policy
from sentinel.model.report import Hello, Report
from sentinel.runtime.inbox import Inbox

MANY = int(os.environ.get("SENTINEL_TEST_FUZZ", "3000"))


def read(payload: bytes) -> Hello | Report | None:
    try:
        message: Hello | Report = decode(Hello | Report, payload)
    except CodecError as error:
        try:
            message = read_by_part(payload, error, lambda _: None)
        except CodecError:
            return None
    return message if message.node == NODE else None


@pytest.mark.parametrize("seed", [1, 2])
def test_no_message_of_an_agent_freezes_the_controller(tmp_path: Path, seed: int) -> None:
    policy = Policy()
    cluster = Cluster(tmp_path, policy)
    cluster.trains()
    watch = Watch(policy, cluster.at)
    heard = 0

    def now() -> float:
        cluster.at += 0.01
        return cluster.at

    inbox = Inbox(cluster.ledger, watch, lambda _node, _done: None, now)
    for number, payload in enumerate(Hostile(seed, cluster.ledger.state).payloads(MANY)):
        if (message := read(payload)) is not None:
            inbox.hear(message)
            heard += 1
        if number % 50 == 0:
            cluster.ledger.absorb(watch.tick(cluster.ledger.state, cluster.at))
            cluster.pass_time()
        assert not cluster.ledger.state.frozen, message
    assert heard > MANY / 5
