import os
import signal
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import connection

import psutil
import pytest
from agent_node import GPU, Node

from sentinel.adapters.kernel_log import FileFollower
from sentinel.checks import load
from sentinel.model.check import series
from sentinel.model.finding import Health
from sentinel.model.report import Event, FindingSeen
from sentinel.runtime.agent import settings
from sentinel.runtime.agent.findings import FindingBook
from sentinel.runtime.agent.probes import Probes

STUCK = replace(load()["host"], name="stuck", every=5.0)
"""No prober knows it, so none ever answers: as a check that hangs."""


class Hanging:
    """Real probers whose GPU driver stops answering, at moments that the test names."""

    def __init__(self, node: Node, *checks: str) -> None:
        given = settings.parse(["--controller", "tcp://127.0.0.1:1", "--keys", str(node.root), "--node", "n"])
        given = replace(given, gpus=f"simulated:{node.devices}", memory=node.memory)
        self.node, self.book = node, FindingBook(node.root / "findings.json")
        self.kernel_log = FileFollower(node.kernel_log)
        known = {name: load()[name] if name != STUCK.name else STUCK for name in checks}
        self.probes = Probes(given, known, self.book, self.kernel_log)
        self.now = 0.0

    def answer(self) -> list[tuple[str, Health]]:
        """Ask, wait for the answer."""
        return _said(self.events())

    def events(self) -> list[Event]:
        reported = self.probes.run_due(self.now, tuple)
        while self.probes.prober.busy:
            connection.wait([self.probes.prober.output], 15.0)
            reported += self.probes.take_answers(self.now, tuple)
        return reported

    def hang_driver(self) -> None:
        """Whoever reads the devices from now on waits for a writer that never comes."""
        self.node.devices.unlink()
        os.mkfifo(self.node.devices)

    def hang(self) -> list[tuple[str, Health]]:
        """Ask, and let every deadline pass."""
        self.now += 1000
        reported = self.probes.run_due(self.now, tuple)
        self.now += 1000
        return _said(reported + self.probes.run_due(self.now, tuple))


def _said(events: list[Event]) -> list[tuple[str, Health]]:
    found = [event.finding for event in events if isinstance(event, FindingSeen)]
    return [(finding.code, finding.health) for finding in found]


@pytest.fixture
def driver(node: Node) -> Iterator[Hanging]:
    driver = Hanging(node, "gpu")
    yield driver
    driver.probes.close()


def test_a_driver_that_hangs_once_is_evidence_and_a_second_time_in_a_row_is_enough(driver: Hanging) -> None:
    driver.answer()
    driver.hang_driver()
    assert driver.hang() == [("gpu-probe-hung", Health.WARNING)]
    assert driver.hang() == [("gpu-probe-hung", Health.CRITICAL)]
    assert driver.hang() == [], "it is told once"


def test_a_volume_that_hangs_delays_no_other_check(node: Node) -> None:
    hanging = Hanging(node, "gpu", "host", "volumes")
    try:
        hanging.events()
        (child,) = psutil.Process(hanging.probes.prober.pid).children()
        child.suspend()  # as if it slept in a mount
        for _ in range(3):
            hanging.now += 10.0
            assert not {code for code, _ in hanging.answer()} & {"probe-hung", "gpu-probe-hung", "probe-died"}
        assert hanging.probes.gauges["volumes"][series("volume_waits_seconds", path="/")] > 0.0
        assert hanging.probes.gauges["gpu"]
    finally:
        hanging.probes.close()


def test_a_check_that_hangs_again_and_again_leaves_time_for_the_others(node: Node) -> None:
    hanging, asked = Hanging(node, "gpu", "stuck"), Counter[str]()
    prober = hanging.probes.prober
    try:
        for _ in range(100):
            hanging.now += 1.0
            hanging.probes.run_due(hanging.now, tuple)
            while prober.busy and prober.busy != "stuck":
                asked[prober.busy] += 1
                connection.wait([prober.output], 15.0)
                hanging.probes.take_answers(hanging.now, tuple)
        failures = hanging.probes.counters[series("probes_failed_total", check="stuck")]
        assert hanging.probes.run_urgent("exit", hanging.now, tuple) == [], "the driver is asked"
        assert prober.busy != "stuck"
    finally:
        hanging.probes.close()
    assert failures == 3, "after a second, after a minute, then every five"
    assert asked["gpu"] > 40, "about every second when nothing hangs"


def test_a_probe_that_hangs_clears_nothing_that_was_found_before(driver: Hanging) -> None:
    driver.node.describe({**GPU, "ecc_uncorrectable": 2})
    driver.answer()
    reported = driver.answer()
    assert ("ecc-uncorrectable", Health.CRITICAL) in reported + _standing(driver)
    driver.hang_driver()
    driver.hang()
    assert ("ecc-uncorrectable", Health.CRITICAL) in _standing(driver)


def _standing(driver: Hanging) -> list[tuple[str, Health]]:
    return [(finding.code, finding.health) for finding in driver.book.standing()]


@pytest.mark.parametrize("devices", ["no devices", '{"gpus": [{"index": "none"}]}'])
def test_gpus_that_cannot_be_read_clear_nothing_that_was_found_before(driver: Hanging, devices: str) -> None:
    driver.node.describe({**GPU, "ecc_uncorrectable": 2})
    driver.answer()
    driver.answer()
    driver.node.devices.write_text(devices)
    driver.now += 10
    driver.answer()
    assert ("ecc-uncorrectable", Health.CRITICAL) in _standing(driver)


@pytest.mark.parametrize("driver_of", ["the first prober", "the next prober"])
def test_a_kernel_line_names_the_gpu_that_was_at_its_address(node: Node, driver_of: str) -> None:
    driver = Hanging(node, "gpu", "xid")
    try:
        node.describe(GPU, {**GPU, "index": 1, "uuid": "GPU-1", "pci": "0000:02:00"})
        driver.events()
        if driver_of == "the next prober":
            node.describe(GPU, {"index": 1, "uuid": "GPU-1", "present": False})
            os.kill(driver.probes.prober.pid, signal.SIGKILL)
            driver.now += 1000
            driver.events()
            driver.now += 1000
            driver.events()
        with node.kernel_log.open("a") as log:
            log.write("NVRM: Xid (PCI:0000:02:00): 79, GPU has fallen off the bus.\n")
        found = [event.finding for event in driver.events() if isinstance(event, FindingSeen)]
    finally:
        driver.probes.close()
    assert [each.component for each in found if each.code == "xid-79"] == ["gpu-1"]
