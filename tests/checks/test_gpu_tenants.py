import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from of_gpus import BEGINS_ANEW, Found, codes, machine

from sentinel import heartbeat
from sentinel.checks import gpu_tenants
from sentinel.demo.nvml import GIB, StandIn
from sentinel.model.check import series
from sentinel.model.finding import Health

RESIDUE = [("gpu-0", "gpu-residue", Health.WARNING)]
STRANGER = [("gpu-0", "gpu-stranger", Health.WARNING)]
NOT_OURS = os.getppid()
"""A process that lives, and descends from no rank: the tests' own is one."""


class Watch:
    """The check as a prober runs it, on a host that counts processes as its kernel does."""

    def __init__(self, memory: Path) -> None:
        self.kept = memory / "checks"
        self.machine = machine(memory, self.kept)

    def look(self) -> Found:
        return codes(gpu_tenants.judge(gpu_tenants.measure(self.machine)))


@pytest.fixture
def watch(driver: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    monkeypatch.setattr(heartbeat, "counts_as_the_kernel", lambda: True)
    (tmp_path / "memory" / "beats").mkdir(parents=True)
    return Watch(tmp_path / "memory")


@pytest.fixture
def rank(watch: Watch) -> Iterator[int]:
    """This process beats as a rank of a job; gives its number."""
    writer = heartbeat.start(watch.machine.memory, job="blue", rank=0, gpu=0, world=1)
    yield os.getpid()
    writer.close()


def test_gpus_at_rest_give_nothing(watch: Watch) -> None:
    assert [watch.look(), watch.look()] == [[], []]


def test_memory_that_no_process_holds_is_found_at_the_second_look(driver: StandIn, watch: Watch) -> None:
    driver.put({"memory.used": GIB - 1}, 1)
    driver.put({"memory.used": GIB}, 0)
    assert [watch.look(), watch.look()] == [[], RESIDUE]
    driver.put({"memory.used": 0}, 0)
    assert watch.look() == []
    driver.put({"memory.used": GIB}, 0)
    assert watch.look() == [], "it begins anew"


@pytest.mark.parametrize(
    "keys",
    [
        pytest.param({"processes": f"{NOT_OURS}:{GIB}"}, id="a process holds it"),
        pytest.param({"graphics_processes": f"{NOT_OURS}:{GIB}"}, id="one that draws does"),
        pytest.param({"utilisation": 1}, id="somebody computes there, listed or not"),
        pytest.param({"mig": 1}, id="an instance's processes are listed elsewhere"),
        pytest.param({"processes": None}, id="who uses it is not told"),
    ],
)
def test_memory_is_no_residue_where_somebody_may_hold_it(
    driver: StandIn, watch: Watch, keys: dict[str, object]
) -> None:
    driver.put({"memory.used": 80 * GIB, **keys}, 0)
    assert [watch.look(), watch.look()] == [[], []]


@pytest.mark.parametrize(
    ("memory", "processors", "found"),
    [("0-1", "0-1", RESIDUE), ("0-1,4,12", "0-1", []), ("0-1", None, RESIDUE), ("garbage", "0", RESIDUE)],
)
def test_a_gpu_whose_memory_is_a_node_of_the_kernel_may_hold_its_pages(
    driver: StandIn,
    watch: Watch,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    memory: str,
    processors: str | None,
    found: Found,
) -> None:
    monkeypatch.setattr(gpu_tenants, "NODES", tmp_path)
    (tmp_path / "has_memory").write_text(memory)
    if processors is not None:
        (tmp_path / "has_cpu").write_text(processors)
    driver.put({"memory.used": 8 * GIB}, 0)
    assert [watch.look(), watch.look()] == [[], found]


def test_in_a_container_nobody_is_told_apart(
    driver: StandIn, watch: Watch, rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "counts_as_the_kernel", lambda: False)
    driver.put({"memory.used": 80 * GIB}, 0)
    driver.put({"memory.used": 80 * GIB, "processes": f"{NOT_OURS}:{80 * GIB}"}, 1)
    assert [watch.look(), watch.look()] == [[], []]


def test_a_process_that_is_no_rank_is_found_at_the_second_look(
    driver: StandIn, watch: Watch, rank: int
) -> None:
    driver.put({"processes": f"{rank}:{9 * GIB},{NOT_OURS}:{GIB}"}, 0)
    driver.put({"processes": f"{rank}:{9 * GIB},{NOT_OURS}:{GIB - 1}"}, 1)
    assert [watch.look(), watch.look()] == [[], STRANGER]
    found = next(iter(gpu_tenants.judge(gpu_tenants.measure(watch.machine))))
    assert f"({NOT_OURS})" in found.summary
    assert f"({rank})" not in found.summary
    driver.put({"processes": f"{rank}:{9 * GIB}"}, 0)
    assert watch.look() == []


def test_a_ranks_child_and_a_process_that_is_gone_are_no_strangers(
    driver: StandIn, watch: Watch, rank: int
) -> None:
    with subprocess.Popen(["sleep", "60"]) as child, subprocess.Popen(["true"]) as ended:
        ended.wait()
        driver.put({"processes": f"{child.pid}:{GIB},{ended.pid}:{GIB}"}, 0)
        assert [watch.look(), watch.look()] == [[], []]
        child.kill()


def test_where_no_rank_beats_everybody_may_be_one(driver: StandIn, watch: Watch) -> None:
    driver.put({"processes": f"{NOT_OURS}:{80 * GIB}"}, 0)
    assert [watch.look(), watch.look()] == [[], []]


def test_a_file_that_is_no_record_says_nothing(driver: StandIn, watch: Watch, rank: int) -> None:
    record = next((Path(watch.machine.memory) / "beats").iterdir())
    (record.parent / f"other{record.suffix}").write_text("nonsense")
    driver.put({"processes": f"{NOT_OURS}:{GIB}"}, 0)
    assert [watch.look(), watch.look()] == [[], STRANGER]


@pytest.mark.parametrize(
    ("now", "pending", "waits"), [(0, 0, False), (1, 1, False), (0, 1, True), (1, 0, True)]
)
def test_a_mode_that_waits_for_a_reset_is_said(
    driver: StandIn, watch: Watch, now: int, pending: int, waits: bool
) -> None:
    driver.put({"mig": now, "mig.pending": pending}, 1)
    assert watch.look() == [("gpu-1", "mig-pending", Health.WARNING)] * waits


def test_instances_and_processes_are_exported(driver: StandIn, watch: Watch) -> None:
    driver.put({"mig": 1, "mig.max": 7, "mig.instances": 2, "processes": "7:1,8:1"}, 1)
    shown = gpu_tenants.metrics(gpu_tenants.measure(watch.machine))
    assert [
        shown[series(f"gpu_{name}", gpu=1)] for name in ("mig_enabled", "mig_instances", "processes")
    ] == [1, 2, 2]
    assert (shown[series("gpu_mig_enabled", gpu=0)], shown[series("gpu_processes", gpu=0)]) == (0.0, 0.0)


def test_a_gpu_that_tells_nothing_is_judged_by_nothing(driver: StandIn, watch: Watch, rank: int) -> None:
    driver.put(dict.fromkeys(driver.described))
    assert [watch.look(), watch.look()] == [[], []]


def test_what_stays_is_found_by_another_prober_at_its_first_look(driver: StandIn, watch: Watch) -> None:
    driver.put({"memory.used": GIB}, 0)
    assert [watch.look(), Watch(Path(watch.machine.memory)).look()] == [[], RESIDUE]


@pytest.mark.parametrize("change", BEGINS_ANEW)
def test_nothing_is_known_after_a_boot_a_long_pause_or_an_exchange(
    driver: StandIn, watch: Watch, change: Callable[[StandIn, Path], None]
) -> None:
    driver.put({"memory.used": GIB}, 0)
    watch.look()
    change(driver, watch.kept)
    assert Watch(Path(watch.machine.memory)).look() == []
