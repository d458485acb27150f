import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from sentinel.adapters.kernel_log import READ_BACK, FileFollower, KmsgFollower, NoKernelLog, follow
from sentinel.model.kernel_line import LONGEST


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "kern.log"
    path.write_text("before\n")
    return path


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_only_lines_newer_than_the_start_are_read_each_once(log: Path) -> None:
    follower = FileFollower(log)
    assert follower.read() == []
    append(log, "one\ntwo\n")
    assert follower.read() == ["one", "two"]
    assert follower.read() == []


def test_the_next_reader_goes_on_at_the_bookmark(log: Path, tmp_path: Path) -> None:
    first = FileFollower(log, tmp_path / "mark")
    append(log, "read\nhalf")
    assert first.read() == ["read"]
    first.settle()
    first.close()
    append(log, " a line\nunread\n")
    second = FileFollower(log, tmp_path / "mark")
    assert second.read() == ["half a line", "unread"]
    assert second.read() == []


def test_what_was_read_and_is_not_settled_is_read_again(log: Path, tmp_path: Path) -> None:
    first = FileFollower(log, tmp_path / "mark")
    append(log, "settled\n")
    first.read()
    first.settle()
    append(log, "told\nand not heard\n")
    assert first.read() == ["told", "and not heard"]
    append(log, "unread\n")
    for _ in range(2):
        assert FileFollower(log, tmp_path / "mark").read() == ["told", "and not heard", "unread"]


def test_a_log_that_came_late_is_read_again_from_its_first_line(tmp_path: Path) -> None:
    log, mark = tmp_path / "kern.log", tmp_path / "mark"
    first = FileFollower(log, mark)
    assert first.read() == []
    log.write_text("first\n")
    assert first.read() == ["first"]
    assert FileFollower(log, mark).read() == ["first"]


def test_a_log_that_was_rotated_while_nobody_read_is_all_new(log: Path, tmp_path: Path) -> None:
    FileFollower(log, tmp_path / "mark").read()
    log.rename(log.with_suffix(".1"))
    log.write_text("first of the new\n")
    assert FileFollower(log, tmp_path / "mark").read() == ["first of the new"]


@pytest.mark.parametrize("mark", ["old", "damaged"])
def test_a_bookmark_that_says_nothing_about_now_is_left_alone(log: Path, tmp_path: Path, mark: str) -> None:
    path = tmp_path / "mark"
    FileFollower(log, path).read()
    append(log, "repaired long ago\n")
    if mark == "old":
        os.utime(path, (0, time.time() - READ_BACK - 1))
    else:
        path.write_text("x")
    assert FileFollower(log, path).read() == []


@pytest.mark.parametrize("line", ["", "told and not heard\n"])
def test_a_bookmark_stays_fresh_while_it_stays_where_it_is(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    follower = FileFollower(log, tmp_path / "mark")
    append(log, line)
    follower.read()
    os.utime(tmp_path / "mark", (0, 0))
    later = time.monotonic() + READ_BACK / 2
    monkeypatch.setattr(time, "monotonic", lambda: later)
    follower.read()
    assert (tmp_path / "mark").stat().st_mtime > 0


def test_half_a_line_waits_for_its_end(log: Path) -> None:
    follower = FileFollower(log)
    append(log, "NVRM: Xid (PCI:00")
    assert follower.read() == []
    append(log, "00:00:06): 79\n")
    assert follower.read() == ["NVRM: Xid (PCI:0000:00:06): 79"]


def test_rotation_loses_and_repeats_nothing(log: Path) -> None:
    follower = FileFollower(log)
    append(log, "last of the old\n")
    log.rename(log.with_suffix(".1"))
    assert follower.read() == ["last of the old"]
    log.write_text("first of the new\n")
    assert follower.read() == ["first of the new"]
    append(log, "second\n")
    assert follower.read() == ["second"]


def test_a_rotated_log_is_read_to_its_end_however_much_was_left(log: Path) -> None:
    follower = FileFollower(log)
    lines = [f"{number} {'x' * 100}" for number in range(30_000)]
    append(log, "\n".join([*lines, ""]))
    log.rename(log.with_suffix(".1"))
    log.write_text("first of the new\n")
    assert [line for _ in range(5) for line in follower.read()] == [*lines, "first of the new"]


def test_other_programs_lines_are_left_out_and_long_ones_cut(log: Path) -> None:
    follower = FileFollower(log)
    kernels = "Nov 29 13:00:02 n1 kernel: NVRM: Xid (PCI:0000:01:00): 79"
    append(log, "Nov 29 13:00:01 n1 sudo[42]: NVRM: Xid (PCI:0000:01:00): 79\n" + kernels + "\n")
    append(log, f"[1.0] {'x' * 300_000}\n[2.0] short\n")
    cut, short = "[1.0] " + "x" * (LONGEST - 6), "[2.0] short"
    assert [line for _ in range(5) for line in follower.read()] == [kernels, cut, short]


def test_truncation_starts_again_from_the_top(log: Path) -> None:
    append(log, "a long line that is gone\n")
    follower = FileFollower(log)
    log.write_text("new\n")
    assert follower.read() == ["new"]


def test_a_log_that_is_missing_is_said_and_found_when_it_comes(tmp_path: Path) -> None:
    path = tmp_path / "kern.log"
    follower = FileFollower(path)
    assert follower.read() == []
    assert "No such file" in follower.error
    path.write_text("first\n")
    assert follower.read() == ["first"]
    assert follower.error == ""


def test_the_kernel_device_is_read_by_records_or_says_why_not() -> None:
    follower = KmsgFollower()
    lines = follower.read()
    follower.close()
    assert all("\n" not in line and not line.startswith("6,") for line in lines)
    assert follower.error or follower.missed >= 0


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """A pipe that gives a record with each read, as /dev/kmsg does: each reader gets what is put in anew."""
    path, ends = tmp_path / "kmsg", []
    os.mkfifo(path)

    def fill(*records: str) -> Path:
        ends.append(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        fcntl.fcntl(ends[-1], fcntl.F_SETFL, os.O_NONBLOCK | os.O_DIRECT)  # each write is read by itself
        for record in records:
            os.write(ends[-1], record.encode())
        return path

    yield fill
    for end in ends:
        os.close(end)


OLD, NEW = "6,7,1000000,-;old\n", "4,9,2500000,-;new\n"


def test_the_kernel_device_is_read_on_from_the_bookmark(device: Callable[..., Path], tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    first = KmsgFollower(device(OLD), mark)
    first.read()
    first.settle()
    second = KmsgFollower(device(OLD, NEW), mark)
    assert second.read() == ["[    2.500000] new"]
    assert second.read() == []
    third = KmsgFollower(device(OLD, NEW), mark)
    assert third.read() == ["[    2.500000] new"], "it was not settled, and it is the same"
    third.settle()
    assert KmsgFollower(device(OLD, NEW), mark).read() == []


def test_of_the_kernel_device_only_what_the_kernel_wrote_is_given(
    device: Callable[..., Path], tmp_path: Path
) -> None:
    follower = KmsgFollower(device(OLD), tmp_path / "mark")
    follower.read()
    quoted = "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus."
    device(f"12,8,2000000,-;{quoted}\n", f"30,9,2000000,-;{quoted}\n", "3,10,3000000,-;mine\\x0atwo \\x5c\n")
    assert follower.read() == ["[    3.000000] mine\ntwo \\"]
    assert follower.missed == 0


def test_what_a_process_writes_to_the_real_device_is_not_the_kernels() -> None:
    follower = KmsgFollower()
    if follower.error:
        pytest.skip(follower.error)
    try:
        write = os.open("/dev/kmsg", os.O_WRONLY)
    except OSError as error:
        pytest.skip(f"/dev/kmsg: {error.strerror}")
    said, before = f"sentinel test {uuid4().hex}", follower._sequence or 0
    os.write(write, f"<0>{said}\n".encode())
    os.close(write)
    assert _with(said, follower) == []
    assert (follower._sequence or 0) > before, "it was read"


def _with(said: str, follower: KmsgFollower) -> list[str]:
    return [line for line in follower.read() if said in line]


def test_missed_kernel_records_are_counted() -> None:
    follower = KmsgFollower(Path("/nonexistent"))
    assert "No such file" in follower.error
    assert follower.fileno() == -1
    assert follower._message(b"6,100,1,-;first\n SUBSYSTEM=pci\n") == "[    0.000001] first"
    later = b"6,104,12345678901,-;second; with a semicolon\n"
    assert follower._message(later) == "[12345.678901] second; with a semicolon"
    assert follower.missed == 3


def test_no_log_is_a_choice() -> None:
    assert isinstance(follow("none"), NoKernelLog)
    assert follow("none").read() == []
