"""What throttles a rack's way out leaves alone what stays within it (needs root, for namespaces)."""

import json
import subprocess

import pytest

from sentinel.demo.network import Network, available

pytestmark = pytest.mark.skipif(bool(available()), reason=available())
NODES = ("a1", "a2", "b1", "b2")


def sources(network: Network, node: str) -> int:
    """Count the senders whose packets to this node are limited."""
    link = network._link(node)
    said = subprocess.run(
        ["tc", "-j", "filter", "show", "dev", link], capture_output=True, text=True, check=True
    )
    return sum("match" in json.dumps(each) for each in json.loads(said.stdout or "[]"))


def test_each_node_is_limited_by_those_of_the_other_side_alone() -> None:
    network = Network("tryr")
    try:
        for node in NODES:
            network.add(node)
        network.slow_between(["a1", "a2"], ["b1", "b2"], 3.0, 300.0)
        assert [sources(network, node) for node in NODES] == [2, 2, 2, 2]
        network.slow_between(["a1", "a2"], ["b1", "b2"], 0)
        assert [sources(network, node) for node in NODES] == [0, 0, 0, 0]
        network.slow_between(["a1"], ["b2"], 3.0)
        assert [sources(network, node) for node in NODES] == [1, 0, 0, 1]
    finally:
        network.remove()
