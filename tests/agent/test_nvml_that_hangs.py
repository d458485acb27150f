"""NVML calls that never return: a real prober, NVIDIA's binding, and the stand-in driver behind it."""

from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import connection

import pytest
from agent_node import Node

from sentinel.adapters.kernel_log import FileFollower
from sentinel.checks import load
from sentinel.demo.nvml import StandIn
from sentinel.model.finding import Health
from sentinel.model.report import FindingSeen
from sentinel.runtime.agent import settings
from sentinel.runtime.agent.findings import FindingBook
from sentinel.runtime.agent.metrics import HELP
from sentinel.runtime.agent.probes import Probes

Found = list[tuple[str, str, Health]]
CHECKS = ("gpu", "gpu_memory", "gpu_links", "gpu_clocks", "gpu_tenants", "gpu_driver")
EVERY = 40.0
"""By then all of them are due again."""


class Agent:
    """An agent's probes, on a clock of the test's."""

    def __init__(self, node: Node) -> None:
        given = settings.parse(["--controller", "tcp://127.0.0.1:1", "--keys", str(node.root), "--node", "n"])
        given = replace(given, gpus="nvml", memory=node.memory)
        checks = {name: load()[name] for name in CHECKS}
        book = FindingBook(node.root / "findings.json")
        self.probes = Probes(given, checks, book, FileFollower(node.kernel_log))
        self.now = 0.0

    def look(self, *, hangs: str = "") -> Found:
        """Run all that is due; the check that hangs has its whole deadline."""
        self.now += EVERY
        found = self.probes.run_due(self.now, tuple)
        while busy := self.probes.prober.busy:
            if busy == hangs:
                self.now += load()[busy].deadline + 0.5
                found += self.probes.run_due(self.now, tuple)
                hangs = ""
            elif connection.wait([self.probes.prober.output], 15.0):
                found += self.probes.take_answers(self.now, tuple)
        seen = [event.finding for event in found if isinstance(event, FindingSeen)]
        return [(each.component, each.code, each.health) for each in seen]

    def standing(self) -> set[tuple[str, str]]:
        return {(each.component, each.code) for each in self.probes._book.standing()}


@pytest.fixture
def agent(driver: StandIn, node: Node) -> Iterator[Agent]:
    agent = Agent(node)
    yield agent
    agent.probes.close()


def test_faults_come_through_a_prober_of_its_own(agent: Agent, driver: StandIn) -> None:
    assert agent.look() == []
    driver.put({"ecc.volatile.uncorrected": 2, "sram.threshold_exceeded": 1, "recovery_action": 1}, 1)
    assert sorted(agent.look()) == [
        ("gpu-1", "ecc-uncorrectable", Health.CRITICAL),
        ("gpu-1", "gpu-recovery", Health.CRITICAL),
        ("gpu-1", "sram-threshold", Health.CRITICAL),
    ]
    driver.put({"lost": 1}, 1)
    found = agent.look()
    assert ("gpu-1", "gpu-lost", Health.CRITICAL) in found
    assert ("gpu-1", "gpu-memory-unreadable", Health.UNKNOWN) in found
    assert {("gpu-1", "sram-threshold"), ("gpu-1", "gpu-recovery")} <= agent.standing(), (
        "what was known stands"
    )


def test_every_metric_of_a_gpu_is_exported(agent: Agent, driver: StandIn) -> None:
    driver.put({"retired.single": 1, "retired.double": 2})
    driver.put({"mig": 1, "mig.max": 7, "mig.instances": 1}, 1)
    agent.look()
    exported = {each.name for gauges in agent.probes.gauges.values() for each in gauges}
    assert exported == {name for name in HELP if name.startswith("gpu_")} - {"gpu_health"}, "of all findings"


@pytest.mark.parametrize(
    ("check", "call"),
    [
        ("gpu_memory", "nvmlDeviceGetRowRemapperHistogram"),
        ("gpu_links", "nvmlDeviceGetNvLinkState"),
        ("gpu_clocks", "nvmlDeviceGetViolationStatus"),
        ("gpu_tenants", "nvmlDeviceGetComputeRunningProcesses_v3"),
        ("gpu_driver", "nvmlDeviceGetGpuFabricInfoV"),
    ],
)
def test_a_call_that_hangs_is_a_finding_of_its_check_and_no_other_is_affected(
    agent: Agent, driver: StandIn, check: str, call: str
) -> None:
    driver.put({"sram.threshold_exceeded": 1, "recovery_action": 4, "memory_temperature": 99}, 0)
    agent.look()
    agent.look()  # what the driver asks for is believed when it asks again
    before = agent.standing()
    assert len(before) == 3
    driver.put({"hang": call}, 0)
    assert agent.look(hangs=check) == [(check, "probe-hung", Health.UNKNOWN)]
    driver.put({"hang": None}, 0)
    assert agent.look() == [(check, "probe-hung", Health.OK)]
    assert agent.standing() == before


def test_a_gpu_whose_first_question_hangs_is_evidence_by_the_next_prober_as_well(
    agent: Agent, driver: StandIn
) -> None:
    agent.look()
    driver.put({"hang": "nvmlDeviceGetTotalEccErrors"}, 0)
    assert agent.look(hangs="gpu") == [("gpu", "gpu-probe-hung", Health.WARNING)]
