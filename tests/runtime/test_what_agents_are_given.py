"""Agents that Sentinel starts get what the settings say of them on their command line."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from sentinel import config
from sentinel.adapters.keys import ensure_keys
from sentinel.adapters.transport import Reports
from sentinel.model.ids import NodeId
from sentinel.runtime.agent.settings import AgentSettings, parse
from sentinel.runtime.controller import Controller

NO_LISTS = config.Checks()


def given(root: Path, checks: config.Checks = NO_LISTS, **cluster: Any) -> AgentSettings:
    """Read the command line of an agent of such a cluster as the agent does."""

    async def argv() -> list[str]:  # a controller begins in a running loop
        settings = config.Settings(cluster=config.Cluster(state_dir=root, **cluster), checks=checks)
        controller = Controller(settings, cast(Reports, None), ensure_keys(root / "keys"))
        return controller._agent_argv(NodeId("gpu-001"))

    words = asyncio.run(argv())
    return parse(words[words.index("--controller") :])


@pytest.mark.parametrize(
    ("cluster", "port", "gpus"),
    [
        pytest.param({}, 0, None, id="nothing is set"),
        pytest.param({"agent_metrics_port": 7802, "expected_gpus": 8}, 7802, 8, id="both are"),
        pytest.param({"expected_gpus": 0}, 0, 0, id="nodes without GPUs"),
    ],
)
def test_their_metrics_port_and_how_many_gpus_a_node_should_have(
    tmp_path: Path, cluster: dict[str, Any], port: int, gpus: int | None
) -> None:
    found = given(tmp_path, **cluster)
    assert (found.node, found.metrics_port, found.expected_gpus) == ("gpu-001", port, gpus)


def test_which_volumes_they_watch(tmp_path: Path) -> None:
    found = given(tmp_path, config.Checks(volumes=("/data", "s3://bucket/a")))
    assert {"/", "/data", "s3://bucket/a"} <= {*found.disks}


def test_which_xids_are_fatal_and_which_are_nothing(tmp_path: Path) -> None:
    found = given(tmp_path / "lists", config.Checks(xid_fatal=(31, 13), xid_ignored=(43,)))
    assert (found.xid_fatal, found.xid_ignored) == ({31, 13}, {43})
    none = given(tmp_path / "none")
    assert (none.xid_fatal, none.xid_ignored) == (frozenset(), frozenset())
