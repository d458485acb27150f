"""An agent that is told to leave: it goes when nothing needs it, and takes its memory with it."""

import asyncio
from collections.abc import Callable

import pytest
from agent_node import Controller, Node, until

from sentinel.model.report import Event, Leave, OrderDone


def answer(order: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, OrderDone) and event.order == order


@pytest.mark.parametrize(
    "acknowledging",
    [pytest.param(True, id="the controller knows"), pytest.param(False, id="the controller is gone by then")],
)
def test_an_agent_leaves_nothing_in_memory(node: Node, acknowledging: bool) -> None:
    async def scenario() -> None:
        async with node.watched(acknowledging) as controller:
            await controller.order(Leave("go"))
            done = await controller.event(answer("go"))
            assert isinstance(done, OrderDone)
            assert done.ok
            await until(lambda: node.processes[0].poll() is not None)

    asyncio.run(scenario())
    assert node.processes[0].returncode == 0
    assert not node.memory.parent.exists()


def test_an_agent_stays_while_ranks_live_on_its_node(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            rank = node.rank(0)
            await until(lambda: len(controller.beats) == 1, controller)
            await controller.order(Leave("go"))
            refused = await controller.event(answer("go"))
            assert isinstance(refused, OrderDone)
            assert not refused.ok
            await _still_reports(controller)
            assert rank.poll() is None

    asyncio.run(scenario())
    assert (node.memory / "beats").exists()


async def _still_reports(controller: Controller) -> None:
    step = controller.beats[0].step
    await until(lambda: controller.beats[0].step > step, controller)
