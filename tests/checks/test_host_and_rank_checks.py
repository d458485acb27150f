import math

import pytest
from msgspec import structs

from sentinel.checks import heartbeat, oom
from sentinel.model.check import Machine
from sentinel.model.ids import JobId, WorkerId
from sentinel.model.report import RankBeat
from sentinel.runtime.probe import NoGpus

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
