import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as with_

from sentinel.checks import _volume_child, volumes
from sentinel.checks._volume_pool import Answer, Pool, Volume
from sentinel.checks.volumes import judge
from sentinel.model.check import Machine, series
from sentinel.model.finding import Health
from sentinel.runtime.probe import NoGpus

GIB = 1024**3
FINE = Answer(100 * GIB, 50 * GIB, 1_000_000, 900_000)
TRIED = with_(FINE, write_s=0.01, read_s=0.01)
SLOW = with_(FINE, write_s=volumes.SLOW_S, read_s=0.1)


PATIENT_S = 20.0


def found(*tried: Answer, **changed: object) -> list[tuple[str, Health]]:
    volume = replace(Volume("/ckpt", FINE, tried), **changed)
    return [(each.code, each.health) for each in judge([volume])]


@pytest.mark.parametrize(
    ("answer", "codes"),
    [
        pytest.param(FINE, [], id="fine"),
        pytest.param(Answer(100 * GIB, GIB), ["disk-full"], id="full"),
        pytest.param(Answer(64 * 1024**2, 0), ["disk-full"], id="small and full"),
        pytest.param(Answer(100_000 * GIB, 2_000 * GIB), [], id="98% of a huge disk is room"),
        pytest.param(with_(FINE, files_free=29_000), ["disk-full"], id="inodes"),
        pytest.param(with_(FINE, files_free=31_000), [], id="inodes enough"),
        pytest.param(with_(FINE, files=10**9, files_free=10**7), [], id="1% of very many inodes"),
        pytest.param(with_(FINE, files=0, files_free=0), [], id="it counts no inodes"),
        pytest.param(Answer(error="No such file or directory"), ["disk-unreadable"], id="missing"),
        pytest.param(Answer(error="Stale file handle", failed_with="ESTALE"), ["volume-failed"], id="stale"),
        pytest.param(Answer(), [], id="a file system without a size"),
        pytest.param(Answer(64 * 1024**2, 0, 99, 0, read_only=True), [], id="an image is always full"),
    ],
)
def test_what_a_volume_says_of_itself(answer: Answer, codes: list[str]) -> None:
    assert [code for code, _ in found(answer=answer)] == codes


@pytest.mark.parametrize(
    ("tried", "codes"),
    [
        pytest.param([TRIED], [], id="fine"),
        pytest.param([SLOW, SLOW], [], id="slow twice"),
        pytest.param([SLOW, SLOW, SLOW], ["volume-slow"], id="slow for minutes"),
        pytest.param([SLOW, TRIED, SLOW], [], id="slow with a break"),
        pytest.param([with_(SLOW, write_s=volumes.SLOW_S - 0.1)] * 3, [], id="at the limit"),
        pytest.param(
            [with_(FINE, failed="Input/output error", failed_with="EIO")], ["volume-failed"], id="EIO"
        ),
        pytest.param(
            [with_(FINE, failed="Disk quota exceeded", failed_with="EDQUOT")], ["disk-full"], id="quota"
        ),
        pytest.param([with_(FINE, refused="Permission denied")] * 3, [], id="not ours to write to"),
    ],
)
def test_what_came_of_trying_it(tried: list[Answer], codes: list[str]) -> None:
    assert [code for code, _ in found(*tried)] == codes


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        pytest.param({"waits_s": 1.0}, [], id="late"),
        pytest.param({"waits_s": volumes.HUNG_S}, [("volume-hung", Health.CRITICAL)], id="hung"),
        pytest.param(
            {"waits_s": 1.0, "answer": None},
            [("volume-unreadable", Health.UNKNOWN)],
            id="a new prober does not know yet",
        ),
        pytest.param({"error": "it died"}, [("volume-unreadable", Health.UNKNOWN)], id="child died"),
    ],
)
def test_a_volume_that_does_not_answer(
    changed: dict[str, object], expected: list[tuple[str, Health]]
) -> None:
    assert found(**changed) == expected


def test_what_was_found_stands_while_the_volume_does_not_answer() -> None:
    full = Answer(100 * GIB, GIB)
    assert [code for code, _ in found(waits_s=99.0, answer=full)] == ["volume-hung", "disk-full"]


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    monkeypatch.setattr("sentinel.checks._volume_pool.PATIENCE_S", PATIENT_S)  # this machine may be busy
    pool = Pool(lambda path: ".trial")
    yield pool
    pool.close()


def test_a_volume_is_written_to_and_nothing_is_left(pool: Pool, tmp_path: Path) -> None:
    (volume,) = pool.look([str(tmp_path)], PATIENT_S)
    assert volume.answer is not None
    assert volume.answer.total > volume.answer.free > 0
    assert volume.tried[0].write_s is not None
    assert volume.tried[0].read_s is not None
    assert list(tmp_path.iterdir()) == []
    (again,) = pool.look([str(tmp_path)], PATIENT_S)
    assert len(again.tried) == 1, "it is tried once a minute, and asked each time"


def test_an_agent_does_not_wait_for_what_comes_of_a_try(pool: Pool, tmp_path: Path) -> None:
    (volume,) = pool.look([str(tmp_path)])
    assert volume.answer is not None
    assert (volume.tried, volume.waits_s) == ((), 0.0)
    while not volume.tried:
        (volume,) = pool.look([str(tmp_path)])
    assert volume.tried[0].write_s is not None


def test_a_missing_volume_says_so_and_the_next_one_is_asked(pool: Pool, tmp_path: Path) -> None:
    missing, there = pool.look([str(tmp_path / "missing"), str(tmp_path)], PATIENT_S)
    assert missing.answer is not None
    assert missing.answer.error == "No such file or directory"
    assert there.answer is not None
    assert not there.answer.error
    assert len(pool._idle) == 1, "one child serves all that answer"


def test_one_that_hangs_is_waited_for_once_and_others_are_asked_meanwhile(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung, well = str(tmp_path / "hung"), str(tmp_path)
    (tmp_path / "hung").mkdir()
    pool.look([hung], PATIENT_S)
    (child,) = pool._idle
    os.kill(child.process.pid, signal.SIGSTOP)
    monkeypatch.setattr("sentinel.checks._volume_pool.PATIENCE_S", 0.01)
    (stuck,) = pool.look([hung])
    assert stuck.waits_s > 0
    monkeypatch.setattr("sentinel.checks._volume_pool.PATIENCE_S", PATIENT_S)
    stuck, healthy = pool.look([hung, well])
    assert stuck.waits_s > 0.01
    assert healthy.answer is not None
    assert healthy.waits_s == 0.0
    os.kill(child.process.pid, signal.SIGCONT)
    while stuck.waits_s:
        (stuck,) = pool.look([hung])
    assert stuck.answer is not None


def test_a_child_that_dies_is_unknown_once_and_replaced(pool: Pool, tmp_path: Path) -> None:
    pool.look([str(tmp_path)], PATIENT_S)
    (child,) = pool._idle
    child.process.kill()
    child.process.wait()
    (volume,) = pool.look([str(tmp_path)])
    assert volume.error
    (volume,) = pool.look([str(tmp_path)])
    assert not volume.error


@pytest.mark.parametrize("kind", ["link", "fifo", "file"])
def test_what_others_put_in_the_way_is_not_followed(tmp_path: Path, kind: str) -> None:
    victim, way = tmp_path / "victim", tmp_path / ".trial"
    victim.write_text("precious")
    {
        "link": lambda: way.symlink_to(victim),
        "fifo": lambda: os.mkfifo(way),
        "file": lambda: os.link(victim, way),
    }[kind]()
    assert "write_s" in _volume_child.attempt(way)
    assert victim.read_text() == "precious"
    assert not way.exists()


def test_a_folder_in_the_way_is_an_answer(tmp_path: Path) -> None:
    (tmp_path / ".trial").mkdir()
    assert _volume_child.attempt(tmp_path / ".trial").keys() & {"failed", "refused"}


def test_the_machine_is_measured(tmp_path: Path) -> None:
    try:
        samples = volumes.measure(Machine("n", NoGpus(), None, (str(tmp_path), "/")))
    finally:
        volumes._pool("n").close()
        volumes._pool.cache_clear()
    assert list(judge(samples)) == []
    gauges = volumes.metrics(samples)
    assert gauges[series("volume_waits_seconds", path=str(tmp_path))] == 0.0
    assert gauges[series("volume_write_seconds", path=str(tmp_path))] > 0.0
    assert series("volume_write_seconds", path="/") not in gauges, "nothing of a job lies in the root"
