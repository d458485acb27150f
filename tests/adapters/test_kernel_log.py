import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from sentinel.adapters.kernel_log import LINES, FileFollower, KmsgFollower, NoKernelLog, follow
from sentinel.model.kernel_line import LONGEST


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "kern.log"
    path.touch()
    return path


def all_of(follower: FileFollower | KmsgFollower) -> list[str]:
    """Read on until there is nothing more."""
    lines = follower.read()
    while follower.behind:
        lines += follower.read()
    return lines


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_each_line_is_read_once(log: Path) -> None:
    append(log, "before\n")
    follower = FileFollower(log)
    assert (follower.read(), follower.read_back) == (["before"], True)
    assert follower.read() == []
    append(log, "one\ntwo\n")
    assert (follower.read(), follower.read_back) == (["one", "two"], False)
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


def settled(log: Path, mark: Path, text: str) -> None:
    """Have a reader read so much and settle it."""
    append(log, text)
    follower = FileFollower(log, mark)
    follower.read()
    follower.settle()
    follower.close()


def test_a_reader_goes_on_at_a_bookmark_of_this_boot_however_old(log: Path, tmp_path: Path) -> None:
    settled(log, tmp_path / "mark", "told\n")
    os.utime(tmp_path / "mark", (0, time.time() - 30 * 86400))
    append(log, "said meanwhile\n")
    follower = FileFollower(log, tmp_path / "mark")
    assert follower.read() == ["said meanwhile"]
    assert follower.longest == pytest.approx(30 * 86400, rel=0.01)


@pytest.mark.parametrize("mark", ["x", "1 2 3 4", ""])
def test_a_bookmark_that_is_damaged_or_of_another_boot_is_none(log: Path, tmp_path: Path, mark: str) -> None:
    settled(log, tmp_path / "mark", "told\n")
    (tmp_path / "mark").write_text(mark)
    assert FileFollower(log, tmp_path / "mark").read() == ["told"]


def test_what_may_have_been_said_long_ago_is_no_older_than_the_last_look_of_the_last_reader(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FileFollower(log, tmp_path / "mark")
    os.utime(tmp_path / "mark", (0, 0))
    later = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: later)
    first.settle()
    assert FileFollower(log, tmp_path / "mark").longest < 30


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
    assert all_of(follower) == [*lines, "first of the new"]


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
    follower.read()
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
    assert all(line.startswith("[") for line in lines), "a record's head is read, and its time is told"
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
    return [line for line in all_of(follower) if said in line]


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


def test_a_storm_is_read_in_turns_and_nothing_of_it_is_lost(log: Path) -> None:
    follower = FileFollower(log)
    lines = [f"{number} {'x' * (number % 300)}" for number in range(12_345)]
    append(log, "\n".join([*lines, ""]))
    turns = []
    while turn := follower.read():
        turns.append(turn)
    assert [line for turn in turns for line in turn] == lines
    assert max(map(len, turns)) <= LINES


@pytest.mark.parametrize("turns", [0, 1, 2, 7])
def test_the_next_reader_goes_on_in_the_middle_of_a_storm(log: Path, tmp_path: Path, turns: int) -> None:
    lines = [f"{number} {'x' * (number % 300)}" for number in range(12_345)]
    append(log, "\n".join([*lines, "half"]))
    first = FileFollower(log, tmp_path / "mark")
    read = [line for _ in range(turns) for line in first.read()]
    first.settle()
    second = FileFollower(log, tmp_path / "mark")
    append(log, " a line\n")
    assert read + all_of(second) == [*lines, "half a line"]


@pytest.mark.parametrize("length", [LONGEST - 1, LONGEST, LONGEST + 1, 300_000])
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_an_overlong_line_is_cut_and_the_next_one_whole(
    log: Path, tmp_path: Path, length: int, pieces: int
) -> None:
    follower = FileFollower(log, tmp_path / "mark")
    text, read = "begin" + "x" * (length - 5), []
    for piece in range(pieces):
        append(log, text[piece * length // pieces : (piece + 1) * length // pieces])
        read += all_of(follower)
        follower.settle()
    assert read == []
    again = FileFollower(log, tmp_path / "mark")
    append(log, "\nnext\n")
    for each in (follower, again):
        assert all_of(each) == [text[:LONGEST], "next"]
        each.settle()
        assert all_of(FileFollower(log, tmp_path / "mark")) == []
