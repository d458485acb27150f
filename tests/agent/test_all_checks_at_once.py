"""An agent that is asked for it runs all its checks anew, and says which of them gave no answer."""

import asyncio

from agent_node import GPU, Node

from sentinel.checks import load
from sentinel.model.finding import Health
from sentinel.model.report import FindingSeen, ProbedSeen, ProbeNow


async def probed(node: Node, within: float) -> tuple[ProbedSeen, list[FindingSeen]]:
    async with node.watched() as controller:
        await controller.event(lambda event: isinstance(event, FindingSeen))
        await controller.order(ProbeNow("I-0001/prove/node-7/1", within))
        answer = await controller.event(
            lambda event: isinstance(event, ProbedSeen) and event.reason == "I-0001/prove/node-7/1"
        )
        assert isinstance(answer, ProbedSeen)
        before = [event for event in controller.events.values() if isinstance(event, FindingSeen)]
        return answer, before


def test_all_checks_are_run_and_what_they_found_is_told_first(node: Node) -> None:
    node.describe(GPU | {"ecc_uncorrectable": 2})
    answer, found = asyncio.run(probed(node, 12.0))
    assert set(answer.checks) == set(load())
    assert answer.missing == ()
    assert Health.CRITICAL in {event.finding.health for event in found}


def test_without_a_time_only_the_quick_ones_are_run(node: Node) -> None:
    node.describe(GPU | {"ecc_uncorrectable": 2})
    answer, _ = asyncio.run(probed(node, 0.0))
    quick = {name for name, check in load().items() if check.on_exit}
    assert {*answer.checks, *answer.missing} == quick
