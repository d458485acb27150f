"""A new agent takes over from one that was killed."""

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable

import pytest
from agent_node import GPU, Controller, Node, until
from msgspec.structs import replace

from sentinel.adapters.transport import Reports
from sentinel.heartbeat.process import process_state, state_and_start
from sentinel.model.finding import Finding
from sentinel.model.report import Event, FindingSeen, ProbedSeen, ProbeNow

CONTAINER = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def test_the_next_agent_opens_the_snapshot_port_that_peers_know(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            first = controller.hellos[0].port
            node.processes[0].kill()
            node.processes[0].wait()
            node.agent(controller.reports.endpoint)
            await until(lambda: len({hello.boot for hello in controller.hellos}) > 1, node)
            assert controller.hellos[-1].port == first

    asyncio.run(scenario())


def test_an_agent_that_is_to_take_over_ends_one_that_was_stopped(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            stopped = node.processes[0]
            os.kill(stopped.pid, signal.SIGSTOP)
            await until(lambda: process_state(stopped.pid) == "T", node)
            node.agent(controller.reports.endpoint, flags=["--take-over"])
            await until(lambda: len({hello.boot for hello in controller.hellos}) > 1, node)
            assert stopped.wait() == -signal.SIGKILL
            assert controller.hellos[-1].port == controller.hellos[0].port

    asyncio.run(scenario())


def test_an_agent_that_is_not_to_take_over_leaves_the_other_one_alone(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            second = node.agent(controller.reports.endpoint)
            _, said = await asyncio.to_thread(second.communicate)
            assert (second.returncode, "is locked): it is left alone" in said) == (3, True)
            assert node.processes[0].poll() is None

    asyncio.run(scenario())


@pytest.mark.parametrize("signature", ["", "x y", "{pid} 1", "1 {started}", "{other} {its_start}"])
def test_nobody_is_ended_who_is_not_the_recorded_holder_of_the_lock(node: Node, signature: str) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            first, other = node.processes[0], node.rank()
            (_, started), (_, its_start) = state_and_start(first.pid), state_and_start(other.pid)
            named = {"pid": first.pid, "started": started, "other": other.pid, "its_start": its_start}
            (node.memory / "agent.lock").write_text(signature.format(**named))
            second = node.agent(controller.reports.endpoint, flags=["--take-over"])
            _, said = await asyncio.to_thread(second.communicate)
            assert (second.returncode, "watches node-7 already" in said) == (3, True)
            assert (first.poll(), other.poll()) == (None, None)

    asyncio.run(scenario())


def test_the_next_agent_tells_what_the_kernel_wrote_while_there_was_none(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            node.processes[0].kill()
            node.processes[0].wait()
            with node.kernel_log.open("a") as log:
                log.write("NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.\n")
            node.agent(controller.reports.endpoint)
            await until(lambda: len({hello.boot for hello in controller.hellos}) > 1, node)
            reported = await controller.event(
                lambda event: isinstance(event, FindingSeen) and event.finding.code == "xid-79"
            )
            assert isinstance(reported, FindingSeen)
            assert reported.finding.component == "gpu-0"

    asyncio.run(scenario())


def test_a_new_agent_tells_what_the_kernel_wrote_since_the_boot_and_how_long_ago(node: Node) -> None:
    async def scenario() -> None:
        stamp = time.monotonic() - 100
        with node.kernel_log.open("a") as log:
            log.write(f"[{stamp:12.6f}] NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.\n")
        async with node.watched() as controller:
            reported = await controller.event(_says("xid-79"))
            with node.kernel_log.open("a") as log:
                log.write("[7.1] NVRM: Xid (PCI:0000:01:00): 48, pid=7, name=python3, DBE\n")
            live = await controller.event(_says("xid-48"))
            assert isinstance(reported, FindingSeen)
            assert isinstance(live, FindingSeen)
            assert 100 <= reported.finding.age_s < 160
            assert live.finding.age_s == 0.0

    asyncio.run(scenario())


def test_an_agent_in_a_storm_tells_one_event_with_its_count_and_what_comes_last(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            line = "NVRM: Xid (PCI:0000:01:00): 31, pid={}, name=python3, MMU Fault\n"
            with node.kernel_log.open("a") as log:
                log.writelines(line.format(pid) for pid in range(20_000))
                log.write("NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.\n")
            await controller.event(_says("xid-79"))
            await controller.event(lambda event: _says("xid-31")(event) and _count(event) == 20_000)
            storm = [event for event in controller.events.values() if _says("xid-31")(event)]
            assert len({_burst(event) for event in storm}) == 1
            assert len(storm) < 5

    asyncio.run(scenario())


def _says(code: str) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, FindingSeen) and event.finding.code == code


def _count(event: Event) -> int:
    assert isinstance(event, FindingSeen)
    return event.finding.count


def _burst(event: Event) -> str:
    assert isinstance(event, FindingSeen)
    return event.finding.burst


def _without_age(event: Event) -> Finding:
    assert isinstance(event, FindingSeen)
    return replace(event.finding, age_s=0.0)


async def _next_agent(node: Node, controller: Controller) -> None:
    node.processes[-1].kill()
    node.processes[-1].wait()
    seen = len({hello.boot for hello in controller.hellos})
    controller.events.clear()
    node.agent(controller.reports.endpoint)
    await until(lambda: len({hello.boot for hello in controller.hellos}) > seen, node)


def test_the_next_agent_tells_what_the_controller_has_not_acknowledged_and_nothing_else(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched(acknowledging=False) as controller:
            node.describe({**GPU, "ecc_uncorrectable": 2})
            with node.kernel_log.open("a") as log:
                log.write("[7.1] NVRM: Xid (PCI:0000:01:00): 48, pid=7, name=python3, DBE\n")
            reported = [await controller.event(_says(code)) for code in ("ecc-uncorrectable", "xid-48")]
            await _next_agent(node, controller)
            again = [await controller.event(_says(code)) for code in ("ecc-uncorrectable", "xid-48")]
            assert [_without_age(each) for each in again] == [_without_age(each) for each in reported]
            controller.acknowledging = True
            end = str(node.kernel_log.stat().st_size)
            await until(lambda: (node.memory / "kernel-log").read_text().split()[-1] == end, node)
            await _next_agent(node, controller)
            await controller.order(ProbeNow("now"))
            await controller.event(lambda event: isinstance(event, ProbedSeen) and "gpu" in event.checks)
            assert not any(map(_says("ecc-uncorrectable"), controller.events.values()))
            assert not any(map(_says("xid-48"), controller.events.values()))

    asyncio.run(scenario())


@pytest.mark.root
@pytest.mark.skipif(
    subprocess.run([*CONTAINER, "true"], check=False, capture_output=True).returncode != 0,
    reason="no pid namespaces here",
)
def test_an_agent_whose_pid_is_its_predecessor_s_is_told_from_it(node: Node) -> None:
    """In a container of its own every agent has the same pid; its events count from 1 again."""

    async def scenario() -> None:
        async with Reports("tcp://127.0.0.1:0", node.keys) as reports:
            controller = Controller(reports)
            listening = asyncio.create_task(controller.listen())
            for _ in range(2):
                container = node.agent(reports.endpoint, prefix=CONTAINER)
                seen = len(controller.hellos)
                await until(lambda seen=seen: len(controller.hellos) > seen, node)
                assert node.agent_card().pid == 1
                container.kill()
                container.wait()
            assert len({hello.boot for hello in controller.hellos}) == 2
            listening.cancel()

    asyncio.run(scenario())
