"""What Ray says of its nodes: who lives, and what it is told to empty."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest
from fake_ray import FakeRay, hands_of

from sentinel.backends.port import BackendError
from sentinel.backends.ray.link import LinkError
from sentinel.backends.ray.nodes import RayNodes
from sentinel.backends.ray.requests import RayNode
from sentinel.model.ids import NodeId

N1 = NodeId("n1")


class Link:
    """A link that answers with these nodes, or not at all."""

    trouble = ""

    def __init__(self, *nodes: RayNode, away: bool = False) -> None:
        self._nodes, self._away = nodes, away

    async def ask(self, request: object, timeout: float) -> tuple[RayNode, ...]:
        if self._away:
            raise LinkError("nodes: no answer within 5 s")
        return self._nodes


def node(*, alive: bool = True, drained_by: float | None = None) -> RayNode:
    return RayNode(N1, "ab", alive, "10.0.0.1", 1, True, drained_by)


def nodes(*known: RayNode, away: bool = False) -> RayNodes:
    return RayNodes(cast(Any, Link(*known, away=away)), "10.0.0.9:6379", Path("gcs.json"))


@pytest.mark.parametrize(
    ("drained_by", "said"),
    [
        (None, None),
        (0.0, "it is being drained"),
        (1_800_000_000.0, "it is being drained until 2027-01-15 08:00 UTC"),
    ],
)
def test_a_node_that_ray_drains_is_cordoned_by_ray(drained_by: float | None, said: str | None) -> None:
    [known] = asyncio.run(nodes(node(drained_by=drained_by)).known(1.0))
    assert (known.cordon and known.cordon.reason) == said
    assert known.cordon is None or (known.cordon.by, known.cordon.ours) == ("ray", False)


def test_a_dead_node_is_none_and_what_it_was_under_an_older_id_neither() -> None:
    assert asyncio.run(nodes(node(alive=False, drained_by=0.0)).known(1.0)) == []
    [known] = asyncio.run(nodes(node(alive=False, drained_by=0.0), node()).known(1.0))
    assert known.cordon is None


def test_a_ray_that_can_t_be_asked_keeps_no_node_from_being_emptied() -> None:
    away = nodes(away=True)
    assert asyncio.run(away.cordon(N1, "I-0001: gpu-lost")) == "cordoned here"
    assert asyncio.run(away.uncordon(N1)) == "uncordoned here"
    with pytest.raises(BackendError, match="no answer"):
        asyncio.run(away.known(1.0))


def test_a_gcs_that_nobody_remembered_is_not_brought_back() -> None:
    with pytest.raises(BackendError, match=r"gcs\.json: how to start the GCS was never remembered"):
        asyncio.run(nodes().restart_control_plane())


def test_until_when_a_node_is_drained_is_told_in_seconds() -> None:
    ray = FakeRay()
    assert [each.drained_by for each in hands_of(ray).nodes()] == [None]
    ray.draining = {"ab" * 28: 1_800_000_000_000}
    assert [each.drained_by for each in hands_of(ray).nodes()] == [1_800_000_000.0]
