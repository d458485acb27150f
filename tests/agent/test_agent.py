import asyncio
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from agent_node import GPU, NODE, Node, is_running, until
from scraping import scrape

from sentinel.adapters.keys import write_key
from sentinel.model.check import series
from sentinel.model.finding import Health
from sentinel.model.ids import JobId, WorkerId
from sentinel.model.report import (
    Ack,
    Event,
    ExitSeen,
    FindingSeen,
    KillWorker,
    OrderDone,
    ProbedSeen,
    ProbeNow,
    RaisedSeen,
    StacksNow,
)
from sentinel.runtime.agent.metrics import HELP
from tests.enrolled import keys_with

OF_DEVICES = {
    "present",
    "ecc_uncorrectable_errors",
    "ecc_corrected_errors",
    "temperature_celsius",
    "throttle_reasons",
}
NOT_SIMULATED = {
    "clock_error_seconds",
    "host_cpu_pressure_ratio",
    "host_cpu_stolen_ratio",
    "host_io_stalled_ratio",
    "host_memory_stalled_ratio",
    "memory_corrected_errors_total",
    "memory_uncorrectable_errors_total",
    "nic_carrier",
    "nic_errors_total",
    "nic_mtu_bytes",
    "pcie_uncorrected_errors_total",
    "rank_cpu_wait_ratio",
    "service_active",
    "store_get_seconds",
    "store_put_seconds",
    "store_waits_seconds",
    "port_active",
    "port_errors_total",
    "port_rate_bytes_per_second",
}
NOT_SIMULATED |= {name for name in HELP if name.startswith("gpu_")} - {f"gpu_{name}" for name in OF_DEVICES}
"""What a device file does not describe, or a kernel or a machine may lack."""
XID_79 = "NVRM: Xid (PCI:0000:01:00): 79, pid=401, name=python3, GPU has fallen off the bus.\n"


def of_code(event: Event, code: str, health: Health | None = None) -> bool:
    return (
        isinstance(event, FindingSeen)
        and event.finding.code == code
        and (health is None or event.finding.health is health)
    )


def test_beats_and_the_end_of_a_rank_arrive_and_the_machine_is_probed(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            rank = node.rank()
            await until(lambda: any(beat.step > 2 for beat in controller.beats), controller)
            (beat,) = controller.beats
            assert (beat.worker, beat.rank, beat.pid, beat.loss) == ("worker-0", 0, rank.pid, 1.5)
            node.describe({**GPU, "ecc_uncorrectable": 2})
            with node.kernel_log.open("a") as log:
                log.write(XID_79)
            rank.kill()
            end = await controller.event(lambda event: isinstance(event, ExitSeen))
            assert isinstance(end, ExitSeen)
            assert (end.worker, end.pid, end.how) == ("worker-0", rank.pid, "signal 9")
            probed = await controller.event(lambda event: isinstance(event, ProbedSeen))
            checks = (
                "gpu",
                "heartbeat",
                "host",
                "kernel",
                "oom",
                "raylet",
                "sxid",
                "volumes",
                "xid",
                "xid_event",
            )
            assert probed == ProbedSeen(checks, f"exit:{rank.pid}")
            reported = list(controller.events.values())
            causes = [
                n
                for n, event in enumerate(reported)
                if of_code(event, "ecc-uncorrectable") or of_code(event, "xid-79")
            ]
            assert len(causes) == 2
            assert max(causes) < reported.index(probed), (
                "what the probe found comes before the word that it is done"
            )
            await until(lambda: not list((node.memory / "beats").iterdir()), "the record is removed")

    asyncio.run(scenario())


def test_events_wait_for_a_controller_and_are_numbered_without_a_gap(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched(acknowledging=False) as controller:
            rank = node.rank()
            await until(lambda: bool(controller.beats), controller)
            rank.kill()
            await controller.event(lambda event: isinstance(event, ProbedSeen))
            assert sorted(controller.events) == list(range(1, len(controller.events) + 1))
            seen = dict(controller.events)
            controller.events.clear()
            await until(lambda: seen.items() <= controller.events.items(), "told again until acknowledged")

    asyncio.run(scenario())


def test_findings_are_told_once_and_cleared_when_they_pass(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            node.describe({**GPU, "present": False})
            await controller.event(lambda event: of_code(event, "gpu-lost", Health.CRITICAL))
            node.describe(GPU)
            await controller.event(lambda event: of_code(event, "gpu-lost", Health.OK))
            reported = [event for event in controller.events.values() if of_code(event, "gpu-lost")]
            assert len(reported) == 2

    asyncio.run(scenario())


def test_another_journal_hears_of_what_stands(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            await controller.order(Ack(0, journal="first"))
            node.describe({**GPU, "present": False})
            lost = await controller.event(lambda event: of_code(event, "gpu-lost", Health.CRITICAL))
            await controller.order(Ack(max(controller.events), journal="first"))
            # All that is told by now is acknowledged; what comes from here on is told anew.
            told = max(controller.events)

            async def again() -> None:
                while not any(n > told and event == lost for n, event in controller.events.items()):
                    await controller.order(Ack(max(controller.events), journal="second"))
                    await asyncio.sleep(0.05)

            async with asyncio.timeout(10):
                await again()

    asyncio.run(scenario())


def test_an_exception_note_is_reported_once_and_removed(node: Node) -> None:
    async def scenario() -> None:
        from sentinel.gang.notices import leave

        async with node.watched() as controller:
            rank, error = node.rank(3), ("user", "TypeError: x", "Traceback…")
            raised = RaisedSeen(JobId("job"), 3, WorkerId("worker-3"), rank.pid, 1, 3, 12, *error)
            leave(node.memory, "w-1", raised)
            assert await controller.event(lambda event: isinstance(event, RaisedSeen)) == raised
            await until(lambda: not list((node.memory / "errors").iterdir()))
            assert sum(event == raised for event in controller.events.values()) == 1

    asyncio.run(scenario())


def test_orders_are_obeyed_and_answered(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            rank, other = node.rank(0), node.rank(1)
            await until(lambda: len(controller.beats) == 2, controller)
            os.kill(rank.pid, signal.SIGSTOP)
            await controller.event(lambda event: of_code(event, "rank-stopped", Health.CRITICAL))

            await controller.order(StacksNow("s", ((0, rank.pid), (1, other.pid)), 5.0))
            stacks = await controller.event(lambda event: isinstance(event, OrderDone) and event.order == "s")
            assert isinstance(stacks, OrderDone)
            assert stacks.data[0].startswith(f"rank 0 ({rank.pid}): state T")
            assert stacks.data[1].startswith(f"rank 1 ({other.pid}): state")
            assert "rank_program.py" in stacks.data[1]

            await controller.order(KillWorker("wrong", WorkerId("worker-1"), rank.pid))
            refused = await controller.event(
                lambda event: isinstance(event, OrderDone) and event.order == "wrong"
            )
            assert isinstance(refused, OrderDone)
            assert not refused.ok

            await controller.order(KillWorker("k", WorkerId("worker-0"), rank.pid))
            done = await controller.event(lambda event: isinstance(event, OrderDone) and event.order == "k")
            assert isinstance(done, OrderDone)
            assert done.ok
            assert rank.wait(5) == -signal.SIGKILL
            assert other.poll() is None

            await controller.order(KillWorker("by name", WorkerId("worker-1"), 0))
            done = await controller.event(
                lambda event: isinstance(event, OrderDone) and event.order == "by name"
            )
            assert isinstance(done, OrderDone)
            assert done.ok
            assert other.wait(5) == -signal.SIGKILL

            await controller.order(ProbeNow("action-1"))
            await controller.event(lambda event: isinstance(event, ProbedSeen) and event.reason == "action-1")

    asyncio.run(scenario())


def test_the_lease_is_renewed_by_acknowledgements_only(node: Node) -> None:
    lease = node.memory / "lease"

    def renewed() -> int:
        return int(struct.unpack("<q", lease.read_bytes())[0])

    async def scenario() -> None:
        async with node.watched() as controller:
            await until(lambda: renewed() > 0)
            controller.acknowledging = False
            await controller.order(
                ProbeNow("settled")
            )  # orders keep their sequence: earlier ones are through
            await controller.event(lambda event: isinstance(event, ProbedSeen))
            before = renewed()
            await controller.order(ProbeNow("read"))
            await controller.event(lambda event: isinstance(event, ProbedSeen) and event.reason == "read")
            assert renewed() == before
            await controller.order(Ack(0))
            await until(lambda: renewed() > before)

    asyncio.run(scenario())


def test_an_acknowledgement_for_the_agent_before_drops_nothing_and_renews_the_lease(node: Node) -> None:
    lease = node.memory / "lease"

    async def scenario() -> None:
        async with node.watched(acknowledging=False) as controller:
            await controller.order(ProbeNow("one"))
            await controller.event(lambda event: isinstance(event, ProbedSeen) and event.reason == "one")
            first, last, before = min(controller.events), max(controller.events), lease.read_bytes()
            await controller.order(Ack(last, "another boot"))
            await controller.order(ProbeNow("two"))  # orders keep their sequence
            await controller.event(lambda event: isinstance(event, ProbedSeen) and event.reason == "two")
            assert controller.newest[0] == first
            assert lease.read_bytes() != before
            await controller.order(Ack(last, controller.hellos[0].boot))
            await until(lambda: min(controller.newest, default=last + 1) > last)

    asyncio.run(scenario())


def test_a_prober_that_hangs_is_evidence_and_is_replaced(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            await until(lambda: node.agent_card().prober_pid > 0)
            os.kill(node.agent_card().prober_pid, signal.SIGSTOP)
            await controller.order(ProbeNow("now"))
            probed = await controller.event(lambda event: isinstance(event, ProbedSeen))
            told, mute = ("heartbeat", "kernel", "oom", "raylet", "sxid", "xid"), {"gpu", "host"}
            assert probed == ProbedSeen(told, "now", probed.missing)  # type: ignore[union-attr]
            assert mute <= {*probed.missing}  # type: ignore[union-attr]
            await controller.event(
                lambda event: of_code(event, "gpu-probe-hung", Health.WARNING) or of_code(event, "probe-hung")
            )
            await controller.event(
                lambda event: (
                    of_code(event, "gpu-probe-hung", Health.OK) or of_code(event, "probe-hung", Health.OK)
                )
            )

    asyncio.run(scenario())


def test_an_agents_log_has_one_line_for_each_event_on_standard_error(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            (node.memory / "errors" / "of\na-rank.json").write_text("no note")
            node.rank().kill()
            await controller.event(lambda event: isinstance(event, ExitSeen))

    asyncio.run(scenario())
    agent = node.processes[0]
    agent.terminate()
    out, err = agent.communicate(timeout=10)
    reported = [line.split()[4] for line in err.splitlines() if "[agent]" in line]
    assert out == ""
    assert sorted(reported[:3]) == ["controller-connected", "rank-exited", "rank-note-refused"]
    assert [line for line in err.splitlines() if "[agent]" not in line] == []


def test_metrics_show_zeros_and_counted_events(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            port = controller.hellos[-1].metrics_port
            await until(lambda: scrape(port).get(series("gpu_present", gpu=0)) == 1)
            for counted in (series("xid_events_total", xid=79, gpu=0), series("oom_kills_total")):
                await until(lambda counted=counted: scrape(port).get(counted) == 0)
            for check in ("gpu", "heartbeat", "host", "kernel", "oom", "raylet", "volumes", "xid"):
                assert scrape(port)[series("probes_failed_total", check=check)] == 0
            with node.kernel_log.open("a") as log:
                log.write(XID_79)
            await controller.event(lambda event: of_code(event, "xid-79"))
            values = scrape(port)
            assert values[series("xid_events_total", xid=79, gpu=0)] == 1
            assert values[series("xid_events_total", xid=48, gpu=0)] == 0
            assert values[series("findings", check="gpu", health="critical")] == 0

    asyncio.run(scenario())


def test_every_metric_of_an_agent_says_what_it_is(node: Node) -> None:
    async def scenario() -> None:
        node.rank(1)
        async with node.watched() as controller:
            port = controller.hellos[-1].metrics_port
            await until(lambda: {each.name for each in scrape(port)} >= set(HELP) - NOT_SIMULATED)
            own = {each.name for each in scrape(port) if each.name.startswith("process_")}
            assert {each.name for each in scrape(port)} <= set(HELP) | own

    asyncio.run(scenario())


def test_metrics_show_what_ranks_do_whoever_started_them(node: Node) -> None:
    async def scenario() -> None:
        rank = node.rank(1)
        runs = series("rank_runs", job_name="job", rank=1)
        async with node.watched() as controller:
            port = controller.hellos[-1].metrics_port
            await until(lambda: scrape(port).get(runs) == 1)
            assert series("rank_phase_age_seconds", job_name="job", rank=1, phase="compute") in scrape(port)
            rank.send_signal(signal.SIGSTOP)
            await until(lambda: scrape(port).get(runs) == 0)

    asyncio.run(scenario())


def test_a_wrong_key_ends_the_agent_with_one_line(node: Node, tmp_path: Path) -> None:
    stranger = keys_with(tmp_path / "stranger", NODE)
    write_key(stranger.directory / "controller.pub", node.keys.controller_public)

    async def scenario() -> None:
        async with node.watched() as controller:
            agent = node.agent(controller.reports.endpoint, stranger.directory, memory=str(tmp_path / "m2"))
            out, errors = await asyncio.to_thread(agent.communicate)
            assert agent.returncode == 2
            assert errors == (
                f"sentinel-agent: the controller at {controller.reports.endpoint} "
                f"refused this agent's key ({stranger.node_key(NODE)})\n"
            )
            assert out == ""

    asyncio.run(scenario())


def test_a_second_agent_of_a_node_gives_way(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            second = node.agent(controller.reports.endpoint)
            _, errors = await asyncio.to_thread(second.communicate)
            assert second.returncode == 3
            assert errors.count("\n") == 1
            assert NODE in errors

    asyncio.run(scenario())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["asked", "killed"])
def test_the_prober_goes_with_its_agent_and_ranks_stay(node: Node, how: signal.Signals) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            rank = node.rank()
            await until(lambda: bool(controller.beats))
            card = node.agent_card()
            os.kill(card.pid, how)
            await until(lambda: not is_running(card.prober_pid))
            assert rank.poll() is None

    asyncio.run(scenario())


def test_the_next_agent_reports_a_rank_that_died_unwatched(node: Node) -> None:
    async def scenario() -> None:
        rank = node.rank()
        rank.kill()
        rank.wait()
        async with node.watched() as controller:
            end = await controller.event(lambda event: isinstance(event, ExitSeen))
            assert isinstance(end, ExitSeen)
            assert (end.pid, end.how) == (rank.pid, "unknown")

    asyncio.run(scenario())


def test_the_snapshot_port_is_open_where_hello_says(node: Node) -> None:
    async def scenario() -> None:
        async with node.watched() as controller:
            with socket.create_connection(("127.0.0.1", controller.hellos[-1].port), 5):
                pass

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(["--controller", "head:7801"], "'head:7801' is not tcp://host:port", id="no endpoint"),
        pytest.param(["--gpus", "amd"], "'amd' is none of nvml, none, simulated:FILE", id="no GPUs"),
        pytest.param(["--memory", "/proc/none"], "--memory /proc/none: No such file", id="no memory"),
    ],
)
def test_wrong_use_ends_the_agent_with_one_line(tmp_path: Path, words: list[str], says: str) -> None:
    argv = [sys.executable, "-m", "sentinel.runtime.agent", "--controller", "tcp://127.0.0.1:1"]
    ended = subprocess.run(
        [*argv, "--keys", str(tmp_path), *words], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert says in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr
