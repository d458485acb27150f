import math
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec import structs

from sentinel.checks import heartbeat, host, oom
from sentinel.model.check import Machine
from sentinel.model.finding import Health
from sentinel.model.ids import JobId, WorkerId
from sentinel.model.report import RankBeat
from sentinel.runtime.probe import NoGpus

GIB = 1024**3
FINE = host.HostSample(64 * GIB, 32 * GIB, 3.0, 8, 1.0, 0, [host.DiskSample("/ckpt", 100 * GIB, 50 * GIB)])


def disk(total: int, free: int) -> host.HostSample:
    return replace(FINE, disks=[host.DiskSample("/ckpt", total, free)])


@pytest.mark.parametrize(
    ("sample", "found"),
    [
        pytest.param(FINE, [], id="fine"),
        pytest.param(replace(FINE, memory_available=GIB), [("memory", "memory-low")], id="memory"),
        pytest.param(replace(FINE, cpu_pressure=60.0), [("cpu", "cpu-contention")], id="contention"),
        pytest.param(replace(FINE, cpu_pressure=None), [("cpu", "cpu-pressure-unknown")], id="no PSI"),
        pytest.param(replace(FINE, stuck=9), [("host", "stuck-processes")], id="D state"),
        pytest.param(disk(100 * GIB, GIB), [("disk:/ckpt", "disk-full")], id="full"),
        pytest.param(disk(64 * 1024**2, 0), [("disk:/ckpt", "disk-full")], id="small and full"),
        pytest.param(disk(100_000 * GIB, 2_000 * GIB), [], id="98% of a huge disk is room"),
    ],
)
def test_shortages_of_the_host(sample: host.HostSample, found: list[tuple[str, str]]) -> None:
    assert [(finding.component, finding.code) for finding in host.judge(sample)] == found


def test_this_host_can_be_measured_and_a_missing_volume_is_unknown(tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    sample = host.measure(Machine("n", NoGpus(), None, (str(tmp_path), missing)))
    assert sample.memory_total > sample.memory_available > 0
    assert sample.disks[0].total > 0
    unreadable = [finding for finding in host.judge(sample) if finding.code == "disk-unreadable"]
    assert [(finding.component, finding.health) for finding in unreadable] == [
        (f"disk:{missing}", Health.UNKNOWN)
    ]


BEAT = RankBeat(JobId("j"), 5, WorkerId("w"), 7, 1, 2, 9, "compute", 1, 1, 0.1, 0.0, math.nan, 0.1, "S", 0.2)


@pytest.mark.parametrize(
    ("beat", "found"),
    [
        pytest.param(BEAT, [], id="fine"),
        pytest.param(structs.replace(BEAT, state="T"), [("rank-5", "rank-stopped")], id="stopped"),
        pytest.param(structs.replace(BEAT, state="t"), [("rank-5", "rank-stopped")], id="debugged"),
        pytest.param(structs.replace(BEAT, rank=-1, state="T"), [("worker-w", "rank-stopped")], id="standby"),
        pytest.param(structs.replace(BEAT, beat_age_s=9.0), [("rank-5", "rank-beat-stale")], id="silent"),
    ],
)
def test_a_rank_that_cannot_go_on(beat: RankBeat, found: list[tuple[str, str]]) -> None:
    assert [(finding.component, finding.code) for finding in heartbeat.judge([beat])] == found


@pytest.mark.parametrize(
    "line",
    [
        "Out of memory: Killed process 4321 (python3) total-vm:1kB, anon-rss:1kB",
        "Memory cgroup out of memory: Killed process 4321 (python3) total-vm:1kB",
    ],
)
def test_the_oom_killer_is_an_event_with_its_victim(line: str) -> None:
    machine = Machine("n", NoGpus(), None, kernel_lines=("noise", line))
    (finding,) = oom.judge(oom.measure(machine))
    assert (finding.code, finding.event, finding.evidence["pid"]) == ("oom-kill", True, 4321)
