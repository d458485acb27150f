"""The host, its processes, its mounts, its clock, and ranks that wait for a processor."""

from dataclasses import replace
from pathlib import Path

import pytest
from files import captured, plant

from sentinel.checks import clock, contention, host, mounts, processes
from sentinel.model.check import Machine, RankProcess, series
from sentinel.model.finding import Health
from sentinel.runtime.probe import NoGpus, probe

GIB = 1024**3
FINE = host.HostSample(64 * GIB, 32 * GIB, 3.0, 8, 90.0, 1.0, 5.0)


@pytest.mark.parametrize(
    ("sample", "found"),
    [
        pytest.param(FINE, [], id="busy processors are no trouble by themselves"),
        pytest.param(replace(FINE, memory_available=GIB), [("memory", "memory-low")], id="memory"),
        pytest.param(replace(FINE, cpu_pressure=None), [("pressure", "pressure-unreadable")], id="no PSI"),
        pytest.param(replace(FINE, memory_stalled=10.0), [], id="memory pressure at its limit"),
        pytest.param(
            replace(FINE, memory_stalled=10.1), [("memory", "memory-pressure")], id="memory pressure"
        ),
        pytest.param(replace(FINE, io_stalled=60.0), [], id="io pressure at its limit"),
        pytest.param(replace(FINE, io_stalled=60.1), [("io", "io-pressure")], id="io pressure"),
        pytest.param(replace(FINE, swapped_out=GIB), [], id="some swapping"),
        pytest.param(replace(FINE, swapped_out=GIB + 1), [("memory", "swapping")], id="swapping"),
        pytest.param(replace(FINE, stolen=0.1), [], id="steal at its limit"),
        pytest.param(replace(FINE, stolen=0.11), [("cpu", "cpu-steal")], id="steal"),
    ],
)
def test_shortages_of_the_host(sample: host.HostSample, found: list[tuple[str, str]]) -> None:
    assert [(finding.component, finding.code) for finding in host.judge(sample)] == found


def test_a_real_machine_is_read(tmp_path: Path) -> None:
    sample = host.look(plant(tmp_path, captured("virtual_machine")), host.Memory(), 10.0)
    assert (sample.memory_total, sample.memory_available) == (24684084 * 1024, 23413980 * 1024)
    assert (sample.load, sample.cpu_pressure, sample.io_stalled) == (3.07, 12.46, 0.70)
    assert sample.stolen is None, "nobody has looked for five minutes yet"
    assert list(host.judge(sample)) == []


def test_this_machine_can_be_measured() -> None:
    sample = host.measure(Machine("n", NoGpus(), None))
    assert sample.memory_total > sample.memory_available > 0
    assert host.metrics(sample)[series("host_memory_total_bytes")] == sample.memory_total


def test_stolen_time_is_that_of_five_minutes(tmp_path: Path) -> None:
    memory = host.Memory()
    plant(tmp_path, captured("virtual_machine"))
    for at in range(0, 400, 5):
        plant(tmp_path, {"stat": f"cpu  {70 * at} 0 0 0 0 0 0 {30 * at} 0 0"})
        sample = host.look(tmp_path, memory, 1000.0 + at)
    assert sample.stolen == pytest.approx(0.3)
    plant(tmp_path, {"stat": "cpu  1 0 0 0 0 0 0 0 0 0"})
    assert host.look(tmp_path, memory, 1400.0).stolen is None, "a guest that was moved counts anew"


def test_what_is_swapped_out_is_counted_from_the_first_look_on(tmp_path: Path) -> None:
    memory = host.Memory()
    plant(tmp_path, {**captured("virtual_machine"), "vmstat": "pswpout 1000000"})
    assert host.look(tmp_path, memory, 1000.0).swapped_out == 0
    plant(tmp_path, {"vmstat": "pswpout 1000002"})
    assert host.look(tmp_path, memory, 1005.0).swapped_out == 2 * host._PAGE
    assert host.look(tmp_path, memory, 1400.0).swapped_out == 0


@pytest.mark.parametrize("name", ["meminfo", "loadavg", "stat", "pressure/io", "vmstat"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"cpu", b"full avg300", b"a: b c d"], ids=str)
def test_files_that_are_cut_off_are_an_error_or_less_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes
) -> None:
    monkeypatch.setattr(host, "PROC", plant(tmp_path, {**captured("virtual_machine"), name: content}))
    answer = probe(host.CHECK, Machine("n", NoGpus(), None))
    assert {each.health for each in answer.findings} <= {Health.UNKNOWN}


def stat(pid: int, name: str, state: str, flags: int = 4194304, ticks: int = 0) -> str:
    fields = captured("virtual_machine")["6718/stat"].rpartition(") ")[2].split()
    fields[0], fields[6], fields[11] = state, str(flags), str(ticks)
    return f"{pid} ({name}) {' '.join(fields)}"


class Processes:
    """A /proc whose processes a test changes between looks."""

    def __init__(self, root: Path) -> None:
        self.root, self.memory, self.now = root, processes.Memory(), 1000.0
        self.kernel = processes.KernelThreads()
        plant(root, captured("virtual_machine"))

    def set(self, pid: int, state: str, ran: int | None = 5, **changed: int) -> None:
        plant(self.root, {f"{pid}/stat": stat(pid, "a) R (b", state, **changed)})
        if ran is not None:
            plant(self.root, {f"{pid}/schedstat": f"1000 2000 {ran}"})

    def look(self, seconds: float = 15.0) -> list[str]:
        self.now += seconds
        sample = processes.look(self.root, self.memory, self.now, self.kernel)
        return [each.code for each in processes.judge(sample)]


@pytest.fixture
def proc(tmp_path: Path) -> Processes:
    return Processes(tmp_path)


@pytest.mark.parametrize("ran", [5, None], ids=["schedstat", "no schedstat"])
def test_a_process_is_stuck_when_it_has_slept_for_a_minute(proc: Processes, ran: int | None) -> None:
    proc.set(7, "D", ran)
    assert [proc.look() for _ in range(4)] == [[]] * 4
    assert proc.look() == ["stuck-processes"]
    proc.set(7, "S", ran)
    assert proc.look() == []


def test_one_that_ran_in_between_was_only_met_asleep(proc: Processes) -> None:
    for ran in range(20):
        proc.set(7, "D", ran)
        assert proc.look() == []


def test_one_that_used_a_processor_in_between_was_only_met_asleep(proc: Processes) -> None:
    for ticks in range(20):
        proc.set(7, "D", None, ticks=ticks)
        assert proc.look() == []


def test_a_kernel_thread_may_sleep_so_for_ever(proc: Processes) -> None:
    proc.set(7, "D", flags=0x00200040)
    assert [proc.look(60.0) for _ in range(3)] == [[]] * 3


def test_a_process_with_the_number_of_a_kernel_thread_that_ended_is_seen_a_minute_later(
    proc: Processes,
) -> None:
    proc.set(7, "S", flags=0x00200040)
    assert proc.look() == []
    proc.set(7, "D")
    found = [proc.look() for _ in range(9)]
    assert (found[-1], [] in found[:4]) == (["stuck-processes"], True)


@pytest.mark.parametrize(("grown", "found"), [(100, []), (101, ["zombies"])])
def test_zombies_are_told_when_they_become_more(proc: Processes, grown: int, found: list[str]) -> None:
    for pid in range(100, 300):
        proc.set(pid, "Z", None)
    assert proc.look() == [], "however many there are"
    for pid in range(300, 300 + grown):
        proc.set(pid, "Z", None)
    assert proc.look() == found
    assert proc.look(processes.ZOMBIES_WINDOW_S + 1.0) == []


@pytest.mark.parametrize("content", ["", "7", "7 (x", "7 (x) D", "x (y) D 1 2 3", "7 (x) D " + "z " * 30])
def test_a_process_that_can_not_be_read_is_left_out(proc: Processes, content: str) -> None:
    plant(proc.root, {"7/stat": content})
    assert proc.look(60.0) == []


def test_processes_of_this_machine_are_read() -> None:
    sample = processes.measure(Machine("n", NoGpus(), None))
    assert sample.stuck == ()
    assert processes.metrics(sample)[series("host_zombie_processes")] == sample.zombies


class Ranks:
    """Ranks of which a test says how long they waited."""

    def __init__(self, root: Path) -> None:
        self.root, self.watched, self.now = root, contention.Watched({}), 1000.0

    def look(self, share: float, seconds: float = 5.0) -> list[str]:
        """Let rank 1 wait for a share of these seconds, and rank 0 not at all."""
        self.now += seconds
        self.waited = getattr(self, "waited", 0) + int(share * seconds * 1e9)
        plant(self.root, {"10/schedstat": "5 0 1", "11/schedstat": f"5 {self.waited} 1"})
        sample = contention.look(self.root, [(0, 10), (1, 11), (2, 12)], self.watched, self.now)
        return [each.code for each in contention.judge(sample)]


@pytest.mark.parametrize(("share", "found"), [(0.24, []), (0.26, ["cpu-contention"])])
def test_ranks_that_wait_for_a_processor_are_told(tmp_path: Path, share: float, found: list[str]) -> None:
    ranks = Ranks(tmp_path)
    assert [ranks.look(share) for _ in range(8)][-1] == found


def test_contention_is_over_only_when_it_has_eased(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path)
    said = [ranks.look(0.5) for _ in range(8)]
    assert said[:2] == [[], []], "over a few seconds nothing is said"
    assert said[-1] == ["cpu-contention"]
    assert [ranks.look(0.2) for _ in range(12)] == [["cpu-contention"]] * 12
    assert [ranks.look(0.1) for _ in range(12)][-1] == []


def test_a_pid_that_is_anothers_now_waits_anew(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path)
    for _ in range(8):
        ranks.look(0.5)
    ranks.waited = 0
    assert ranks.look(0.0) == []


def test_standbys_and_ranks_that_ended_are_left_out() -> None:
    gone = RankProcess(2**30, "python3", 0)
    sample = contention.measure(Machine("n", NoGpus(), None, processes=(gone, RankProcess(1, "python3", -1))))
    assert sample == contention.ContentionSample({}, False)


READ_ONLY = ("ext4 /dev/vda rw,discard", "ext4 /dev/vda ro,discard")


def test_a_file_system_that_became_read_only_is_told_once(tmp_path: Path) -> None:
    text, memory = captured("virtual_machine")["self/mountinfo"], mounts.Memory()
    assert list(mounts.judge(mounts.look(text, memory))) == []
    for _ in range(2):
        (found,) = mounts.judge(mounts.look(text.replace(*READ_ONLY), memory))
        assert (found.code, found.component, found.health) == ("mount-read-only", "disk:/", Health.CRITICAL)
    assert list(mounts.judge(mounts.look(text, memory))) == []


def test_one_that_always_was_read_only_or_is_only_bound_so_is_meant_so() -> None:
    text, memory = captured("virtual_machine")["self/mountinfo"], mounts.Memory()
    first = text.replace(*READ_ONLY)
    bound = text + "50 27 254:0 /x /mnt/x ro,relatime - ext4 /dev/vda rw,discard\n"
    for each in (first, first):
        assert list(mounts.judge(mounts.look(each, memory))) == []
    assert list(mounts.judge(mounts.look(text, memory))) == []
    assert list(mounts.judge(mounts.look(bound, memory))) == []


def test_another_volume_in_the_same_place_is_another_one() -> None:
    memory = mounts.Memory()
    disk = "60 27 8:1 / /data {0} - ext4 /dev/sda1 {0}\n"
    image = "61 27 7:1 / /data ro - squashfs /dev/loop1 ro\n"
    mounts.look(disk.format("rw"), memory)
    assert list(mounts.judge(mounts.look(image, memory))) == []
    assert list(mounts.judge(mounts.look(disk.format("ro"), memory))) == [], "it was taken away in between"


@pytest.mark.parametrize("kind", ["nfs4", "lustre", "fuse.gcsfuse", "ceph"])
def test_network_file_systems_count_too(kind: str) -> None:
    line, memory = rf"60 27 0:50 / /mnt/a\040b {{0}} - {kind} server:/x {{0}}", mounts.Memory()
    mounts.look(line.format("rw"), memory)
    (found,) = mounts.judge(mounts.look(line.format("ro"), memory))
    assert found.component == "disk:/mnt/a b"


@pytest.mark.parametrize(
    "line", ["", " - ", "60 27 8:1 / /data rw - ext4 /dev/sda1", "x" * 9000, "\ufffd - a /dev/b ro"]
)
def test_lines_that_are_cut_off_are_left_out(line: str) -> None:
    assert mounts.look(line, mounts.Memory()) == ()


def test_what_was_writable_outlives_the_prober(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "PROC", plant(tmp_path / "proc", captured("virtual_machine")))
    machine = Machine("n", NoGpus(), None, kept=str(tmp_path / "kept"))
    mounts.measure(machine)
    text = captured("virtual_machine")["self/mountinfo"].replace(*READ_ONLY)
    plant(tmp_path / "proc", {"self/mountinfo": text})
    assert [each.code for each in mounts.judge(mounts.measure(machine))] == ["mount-read-only"]
    assert list(mounts.judge(mounts.measure(Machine("n", NoGpus(), None)))) == []


@pytest.mark.parametrize(
    ("now", "before", "found"),
    [
        (True, True, []),
        (False, True, [("clock-unsynchronised", Health.WARNING)]),
        (False, False, [("not-applicable", Health.SKIPPED)]),
    ],
)
def test_a_clock_that_follows_nobody_is_told_if_it_did_and_never_in_order(
    now: bool, before: bool, found: list[tuple[str, Health]]
) -> None:
    told = clock.judge(clock.ClockSample(now, before, 16.0))
    assert [(each.code, each.health) for each in told] == found


@pytest.mark.parametrize(
    ("status", "error_s", "follows"),
    [
        pytest.param(0x2001, 0.02, True, id="a time server is followed"),
        pytest.param(0x0040, 0.02, True, id="chrony without rtcsync"),
        pytest.param(0x0040, 16.0, False, id="nobody: as after the boot"),
        pytest.param(0x2041, 16.0, False, id="nobody any more, for nine hours"),
    ],
)
def test_who_tells_how_far_a_clock_is_off_disciplines_it(status: int, error_s: float, follows: bool) -> None:
    assert clock.is_synchronised(status, error_s) == follows


def test_the_kernel_says_what_its_clock_is(tmp_path: Path) -> None:
    sample = clock.measure(Machine("n", NoGpus(), None, kept=str(tmp_path)))
    assert sample.was_synchronised >= sample.synchronised
    assert series("clock_synchronised") in clock.metrics(sample)


@pytest.mark.parametrize("error_s", [0.004, 15.9, 16.0])
def test_an_error_that_the_kernel_does_not_know_is_no_number(error_s: float) -> None:
    told = clock.metrics(clock.ClockSample(error_s < 1, True, error_s))
    assert (told.get(series("clock_error_seconds")) == error_s) == (error_s < 16.0)
