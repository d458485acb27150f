"""A heartbeat record is believed of the process that writes it, and of no other that its bytes may name."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import connection
from pathlib import Path

import pytest
from agent_node import Node, until
from forged import give_away, leave, record

from sentinel.heartbeat import HeartbeatWriter, read
from sentinel.heartbeat.process import state_and_start
from sentinel.model.ids import WorkerId
from sentinel.model.report import Event, ExitSeen, KillWorker, OrderDone, StacksNow
from sentinel.runtime.agent import folder, ranks
from sentinel.runtime.agent.ranks import Ranks

WORKER = WorkerId("worker-0")
root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours that is no rank."""
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


@pytest.fixture
def beats(node: Node) -> Path:
    Ranks(node.memory / "beats")
    return node.memory / "beats"


def lives(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is None


def refused(capsys: pytest.CaptureFixture[str]) -> int:
    return capsys.readouterr().out.count("rank-record-refused")


def test_a_process_that_a_forged_record_names_is_neither_watched_nor_killed(
    beats: Path, victim: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    leave(beats, "worker-0.beat", record(victim.pid))
    watching = Ranks(beats)
    assert [watching.refresh() for _ in range(3)] == [[], [], []]
    assert (watching.beats(), watching.processes(), [*watching.pidfds]) == ((), (), [])
    assert "no heartbeat record ties" in watching.kill(WORKER, victim.pid)
    assert watching.pid_of(WORKER) == watching.pid_here(0, victim.pid) == 0
    assert lives(victim)
    assert refused(capsys) == 1, "one line, and not one for each look"
    victim.kill()
    victim.wait()
    assert watching.refresh() == [], "its end is nobody's end"


@pytest.mark.parametrize("mode", ["reads it", "wrote another"])
def test_who_only_reads_a_record_is_not_its_writer(node: Node, beats: Path, mode: str) -> None:
    path = beats / "worker-0.beat"
    program = "import sys, time; f = open(sys.argv[1], sys.argv[2]); print('', flush=True); time.sleep(600)"
    there = leave(beats, path.name if mode == "reads it" else "another.beat", bytes(1024))
    argv = [sys.executable, "-c", program, str(there), "rb" if mode == "reads it" else "r+b"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as victim:
        assert victim.stdout
        assert victim.stdout.readline()
        with path.open("r+b" if mode == "reads it" else "w+b") as same_file:
            same_file.write(record(victim.pid))
        watching = Ranks(beats)
        watching.refresh()
        assert "no heartbeat record ties" in watching.kill(WORKER, victim.pid)
        assert lives(victim)
        victim.kill()


def test_a_rank_whose_record_is_taken_over_stays_what_it_was(
    node: Node, beats: Path, victim: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    rank, watching = node.rank(), Ranks(beats)
    assert watching.refresh() == []
    gone = record(rank.pid, 7)
    for forged in (record(victim.pid), gone, record(2**22 - 1, 7), record(rank.pid, rank=5, step=-1)):
        leave(beats, "worker-0.beat", forged)
        assert watching.refresh() == [], "it has not ended"
        (beat,) = watching.beats()
        assert (beat.pid, beat.rank, beat.worker) == (rank.pid, 0, "worker-0")
    assert refused(capsys) == 4
    assert watching.kill(WORKER, rank.pid) == ""
    (pidfd,) = watching.pidfds
    assert connection.wait([pidfd], 10)
    ended = watching.reap(pidfd)
    assert ended
    assert (ended.event.pid, ended.event.worker) == (rank.pid, "worker-0")
    assert lives(victim)


def test_a_record_that_changes_its_mind_is_not_followed(
    node: Node, beats: Path, victim: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    rank, watching = node.rank(), Ranks(beats)
    watching.refresh()
    with (beats / "worker-0.beat").open("r+b") as file:
        file.write(record(victim.pid, worker=b"worker-9")[:384])
    for _ in range(3):
        assert watching.refresh() == []
    assert [(beat.pid, beat.worker) for beat in watching.beats()] == [(rank.pid, "worker-0")]
    assert "no heartbeat record ties" in watching.kill(WorkerId("worker-9"), victim.pid)
    assert "no heartbeat record ties" in watching.kill(WorkerId("worker-9"), rank.pid)
    assert refused(capsys) == 1
    assert lives(victim)


def test_a_rank_under_another_workers_name_is_not_that_worker(node: Node, beats: Path) -> None:
    rank, watching = node.rank(), Ranks(beats)
    (beats / "worker-1.beat").hardlink_to(beats / "worker-0.beat")
    leave(beats, "worker-2.beat", (beats / "worker-0.beat").read_bytes())
    leave(beats, "worker-3.beat", record(rank.pid, worker=b"worker-3"))
    assert watching.refresh() == []
    assert [beat.worker for beat in watching.beats()] == ["worker-0"]
    for other in ("worker-1", "worker-2", "worker-3"):
        assert "no heartbeat record ties" in watching.kill(WorkerId(other), rank.pid)


def test_a_worker_is_one_process_and_its_successor_waits_for_its_end(
    node: Node, beats: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rank, watching = node.rank(), Ranks(beats)
    watching.refresh()
    other = node.rank()
    assert [watching.refresh() for _ in range(3)] == [[], [], []]
    assert [beat.pid for beat in watching.beats()] == [rank.pid]
    assert "no heartbeat record ties" in watching.kill(WORKER, other.pid)
    (pidfd,) = watching.pidfds
    rank.kill()
    rank.wait()
    assert watching.reap(pidfd)
    assert watching.refresh() == []
    assert [beat.pid for beat in watching.beats()] == [other.pid]
    assert refused(capsys) == 0


def test_a_second_record_of_one_process_takes_over(beats: Path) -> None:
    watching = Ranks(beats)
    path = beats / "worker-0.beat"
    first = HeartbeatWriter(path, job="job", worker="worker-0", gpu=0)
    watching.refresh()
    second = HeartbeatWriter(path, job="job", worker="worker-0", gpu=3)
    assert watching.refresh() == []
    assert [beat.gpu for beat in watching.beats()] == [3]
    first.close()
    second.close()


@pytest.mark.parametrize("pid", [0, 1, -1, -(2**31), 2**22 + 1, 2**31, 2**32 + 1, 2**40, 2**63 - 1])
def test_no_number_in_a_record_ends_an_agent_or_a_process(node: Node, beats: Path, pid: int) -> None:
    leave(beats, "worker-1.beat", record(pid, state_and_start(1)[1], worker=b"worker-1"))
    rank, watching = node.rank(), Ranks(beats)
    ended = [each for _ in range(3) for each in watching.refresh()]
    assert ended == []
    assert [beat.pid for beat in watching.beats()] == [rank.pid]
    assert "no heartbeat record ties" in watching.kill(WorkerId("worker-1"), pid)


def test_an_agent_is_no_rank(beats: Path) -> None:
    leave(beats, "worker-0.beat", record(os.getpid()))
    watching = Ranks(beats)
    watching.refresh()
    assert watching.beats() == ()


@pytest.mark.parametrize(
    "values",
    [
        {"rank": -5},
        {"rank": 2**40},
        {"gpu": -7},
        {"gpu": 2**40},
        {"generation": -9},
        {"generation": 2**62},
        {"step": -5},
        {"step": 2**62},
        {"outside_s": float("nan")},
        {"outside_s": float("inf")},
        {"job": b"\xff\xfe"},
        {"job": b"a\0b"},
        {"job": b""},
        {"words": (15, 0, 0, 0, 0, 0, 0)},
        {"words": (0, -1, 0, 0, 0, 0, 0)},
        {"words": (-16, 0, 0, 0, 0, 0, 0)},
        {"words": (0, 0, -9, 0, 0, 0, 0)},
        {"words": (0, 0, 0, 7, 0, 0, 0)},
        {"words": (0, 0, 0, -(2**63), 0, 0, 0)},
    ],
    ids=repr,
)
def test_a_record_with_impossible_values_is_none(
    beats: Path, values: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    """It is written by its own process, which may be out of its mind."""
    writer = HeartbeatWriter(beats / "worker-0.beat", job="job", worker="worker-0", gpu=0)
    with (beats / "worker-0.beat").open("r+b") as file:
        file.write(record(os.getpid(), **values))  # type: ignore[arg-type]
    watching = Ranks(beats)
    assert [watching.refresh() for _ in range(3)] == [[], [], []]
    assert watching.beats() == ()
    assert refused(capsys) == 1
    writer.close()


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _link(path: Path) -> None:
    path.symlink_to(leave(path.parent, "worker-5.forged", record(os.getpid(), worker=b"worker-5")))


def _device(path: Path) -> None:
    os.mknod(path, 0o20600, os.makedev(1, 5))


WHAT: dict[str, Callable[[Path], object]] = {
    "a pipe": _fifo,
    "a link": _link,
    "a folder": Path.mkdir,
    "nothing": Path.touch,
    "half": lambda path: path.write_bytes(record(1)[:512]),
    "17 MB": lambda path: path.write_bytes(record(1) * 17_000),
    "no text": lambda path: path.write_bytes(b"\xff" * 1024),
    "a later release's": lambda path: path.write_bytes(b"SENTBEAT" + b"\x09" + bytes(1015)),
    "not UTF-8": lambda path: path.write_bytes(record(os.getpid(), worker=b"\xff\xfe")),
    "a name with a way in it": lambda path: path.write_bytes(record(os.getpid(), worker=b"../x")),
}


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.timeout(30)
def test_what_is_no_record_costs_one_line(
    node: Node, beats: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    WHAT[what](beats / "worker-5.beat")
    rank, watching = node.rank(), Ranks(beats)
    assert [watching.refresh() for _ in range(3)] == [[], [], []]
    assert [beat.pid for beat in watching.beats()] == [rank.pid]
    assert refused(capsys) == 1


@root
def test_another_users_record_or_process_is_none(beats: Path, capsys: pytest.CaptureFixture[str]) -> None:
    leave(beats, "worker-1.beat", record(2**22 - 1, 7, worker=b"worker-1"))
    give_away(beats / "worker-1.beat")
    _device(beats / "worker-2.beat")
    assert Ranks(beats).refresh() == []
    assert refused(capsys) == 2


def test_a_missing_folder_ends_no_agent_and_hides_no_rank(
    node: Node, beats: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rank, watching = node.rank(), Ranks(beats)
    watching.refresh()
    beats.rename(beats.with_name("moved"))
    assert [watching.refresh() for _ in range(3)] == [[], [], []]
    assert [beat.pid for beat in watching.beats()] == [rank.pid]
    assert capsys.readouterr().out.count("rank-records-unreadable") == 1


def test_thousands_of_forged_records_cost_each_look_little(
    node: Node, beats: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3000):
        worker = f"forged-{number}"
        (beats / f"{worker}.beat").write_bytes(record(2**22 - 1, number, worker=worker.encode()))
    looked: list[object] = []
    monkeypatch.setattr(ranks, "contained", lambda: looked.append(0) or {})
    rank, watching = node.rank(), Ranks(beats)
    for look in range(1, 3000 // folder.AT_ONCE + 2):
        assert len(watching.refresh()) <= folder.AT_ONCE
        assert len(looked) <= look, "all of /proc once, however many records ask for it"
    assert [beat.pid for beat in watching.beats()] == [rank.pid]
    assert watching.refresh() == [], "each was told once"


@pytest.mark.parametrize("call", ["pidfd_open", "open"])
def test_an_agent_that_may_open_no_more_takes_no_rank_for_dead(
    node: Node, beats: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rank, watching = node.rank(), Ranks(beats)

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        assert watching.refresh() == []
    assert watching.refresh() == []
    assert [beat.pid for beat in watching.beats()] == [rank.pid]


def test_a_record_of_the_last_release_is_read_and_its_process_known_by_its_map(beats: Path) -> None:
    """It kept its record open by nothing but the map, with whatever mode its umask gave."""
    (beats / "worker-0.beat").touch(0o644)
    program = f"""
import mmap, os, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from forged import record
with open(sys.argv[1], "r+b") as file:
    file.write(record(os.getpid()))
    file.flush()
    memory = mmap.mmap(file.fileno(), 1024)
print("", flush=True)
time.sleep(600)
"""
    argv = [sys.executable, "-c", program, str(beats / "worker-0.beat")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline()
        watching = Ranks(beats)
        watching.refresh()
        assert [beat.pid for beat in watching.beats()] == [process.pid]
        assert watching.kill(WORKER, process.pid) == ""
        assert process.wait() == -signal.SIGKILL


def test_no_descriptor_is_left_open(node: Node, beats: Path, victim: subprocess.Popen[bytes]) -> None:
    rank, watching = node.rank(), Ranks(beats)
    before = len([*Path("/proc/self/fd").iterdir()])
    watching.refresh()
    for forged in (record(victim.pid), record(rank.pid, 1), record(2**22 - 1, 1), b"", bytes(1024)) * 3:
        leave(beats, "worker-0.beat", forged)
        leave(beats, "worker-9.beat", forged)
        watching.refresh()
    assert len([*Path("/proc/self/fd").iterdir()]) == before + 2
    watching.kill(WORKER, rank.pid)
    (pidfd,) = watching.pidfds
    assert connection.wait([pidfd], 10)
    watching.reap(pidfd)
    assert len([*Path("/proc/self/fd").iterdir()]) == before


def test_orders_about_a_process_that_is_no_rank_are_not_obeyed(
    node: Node, victim: subprocess.Popen[bytes]
) -> None:
    def answer(order: str) -> Callable[[Event], bool]:
        return lambda event: isinstance(event, OrderDone) and event.order == order

    async def scenario() -> None:
        async with node.watched() as controller:
            rank = node.rank()
            await until(lambda: len(controller.beats) == 1, controller)
            leave(node.memory / "beats", "worker-1.beat", record(victim.pid, worker=b"worker-1"))
            for number, pid in enumerate((victim.pid, 0, rank.pid)):
                await controller.order(KillWorker(f"k{number}", WorkerId("worker-1"), pid))
                done = await controller.event(answer(f"k{number}"))
                assert isinstance(done, OrderDone)
                assert not done.ok
            await controller.order(StacksNow("s", ((1, victim.pid), (7, rank.pid), (0, 1)), 5.0))
            done = await controller.event(answer("s"))
            assert isinstance(done, OrderDone)
            assert all("no rank that lives on this node" in text for text in done.data)
            assert (len(controller.beats), rank.poll()) == (1, None)
            assert not any(isinstance(event, ExitSeen) for event in controller.events.values())

    asyncio.run(scenario())
    assert lives(victim)


def test_a_rank_reads_its_own_record_and_stays_known(beats: Path) -> None:
    writer = HeartbeatWriter(beats / "worker-0.beat", job="job", worker="worker-0", gpu=0)
    read(writer.path)
    watching = Ranks(beats)
    watching.refresh()
    assert [beat.pid for beat in watching.beats()] == [os.getpid()]
    writer.close()
