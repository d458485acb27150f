"""A reader that nobody was before begins with this boot, and what was repaired since is no news."""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

import pytest

from sentinel.adapters import kernel_log
from sentinel.adapters.kernel_log import FileFollower, KmsgFollower
from sentinel.adapters.kernel_time import age

OLD = "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus."
NEW = "NVRM: Xid (PCI:0000:01:00): 48, DBE"
OTHER = "NVRM: Xid (PCI:0000:02:00): 79, GPU has fallen off the bus."
OOM = "Out of memory: Killed process 77 (python3)"
LOADED = "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  535.129.03  Thu Oct 19 18:56:32 UTC 2023"
OPEN = "NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (dvs-builder)"
RECOVERED = "NVRM: Xid (PCI:0000:01:00): 154, GPU recovery action changed from 0x1 (PF FLR) to 0x0 (None)"
WORSE = "NVRM: Xid (PCI:0000:01:00): 154, GPU recovery action changed from 0x1 (PF FLR) to 0x2 (Node Reboot)"
BANNER = "Linux version 5.15.0-91-generic (buildd@lcy02) (gcc 11.4.0) #101-Ubuntu SMP"
COMMAND = "Command line: BOOT_IMAGE=/vmlinuz root=/dev/sda1 ro"


def plain(text: str) -> str:
    return text


def at(text: str) -> str:
    """The time of a record: each has its own."""
    return f"[    5.{crc32(text.encode()) % 999_999 + 1:06d}]"


FORMS = {
    "plain": plain,
    "dmesg": lambda text: f"{at(text)} {text}",
    "dmesg -T": lambda text: f"[Sun Jan 11 09:52:01 2026] {text}",
    "syslog": lambda text: f"Apr  9 12:59:18 gpu-7 kernel: {at(text)} {text}",
    "journald": lambda text: f"Apr 09 12:59:18 gpu-7 kernel: {text}",
    "another language": lambda text: f"kwi 09 12:59:18 gpu-7 kernel: {at(text)} {text}",
    "iso": lambda text: f"2026-04-22T21:26:20.599595+00:00 gpu-7 kernel: {text}",
    "talos": lambda text: f"192.0.2.9: kern: warning: [2026-04-22T21:26:20.599595837Z]: {text}",
}
in_every_form = pytest.mark.parametrize("form", [pytest.param(f, id=name) for name, f in FORMS.items()])


@pytest.fixture
def says(tmp_path: Path) -> Callable[..., list[str]]:
    def read(*lines: str) -> list[str]:
        log = tmp_path / "kern.log"
        log.write_text("".join(f"{line}\n" for line in lines))
        return FileFollower(log, tmp_path / "mark").read()

    return read


@in_every_form
@pytest.mark.parametrize("begins", [[BANNER, COMMAND], [BANNER], [COMMAND]])
def test_a_file_of_several_boots_is_read_from_the_last_one_on(
    says: Callable[..., list[str]], form: Callable[[str], str], begins: list[str]
) -> None:
    lines = map(form, [BANNER, OLD, *begins, NEW])
    *_, last = lines_read = says(*lines)
    assert last == form(NEW)
    assert form(OLD) not in lines_read


def test_kernel_time_that_begins_anew_is_another_boot(says: Callable[..., list[str]]) -> None:
    again = f"[    7.100000] {NEW}"
    assert says(f"[  900.0] {OLD}", f"[90000.5] {OLD}", f"[    6.0] {OOM}", again) == [
        f"[    6.0] {OOM}",
        again,
    ]


def test_lines_that_processors_wrote_at_once_are_of_one_boot(says: Callable[..., list[str]]) -> None:
    lines = [f"[  900.000200] {OLD}", f"[  900.000100] {NEW}", f"[  899.9] {OOM}"]
    assert says(*lines) == lines


@pytest.mark.parametrize("quoted", [BANNER, LOADED, RECOVERED])
def test_who_only_quotes_the_kernel_neither_boots_nor_repairs(
    says: Callable[..., list[str]], quoted: str
) -> None:
    sudo = f"Apr  9 12:59:18 gpu-7 sudo: root : COMMAND=/bin/echo kernel: {quoted}"
    assert says(OLD, sudo) == [OLD]


def test_a_log_that_nobody_has_written_in_this_boot_is_of_another(tmp_path: Path) -> None:
    log = tmp_path / "kern.log"
    log.write_text(f"{OLD}\n")
    os.utime(log, (0, time.time() - time.monotonic() - 60))
    follower = FileFollower(log)
    assert follower.read() == []
    with log.open("a") as file:
        file.write(f"{NEW}\n")
    assert follower.read() == [NEW]


@in_every_form
@pytest.mark.parametrize("loaded", [LOADED, OPEN])
def test_a_driver_that_was_loaded_again_ends_what_the_one_before_it_said(
    says: Callable[..., list[str]], form: Callable[[str], str], loaded: str
) -> None:
    lines = [form(line) for line in (OLD, OTHER, OOM, loaded, NEW)]
    assert says(*lines) == lines[2:]


@in_every_form
def test_a_gpu_that_needs_no_recovery_any_more_was_repaired_and_no_other(
    says: Callable[..., list[str]], form: Callable[[str], str]
) -> None:
    lines = [form(line) for line in (OLD, OTHER, OOM, RECOVERED, NEW)]
    assert says(*lines) == lines[1:]
    lines = [form(line) for line in (OLD, OTHER, RECOVERED.replace("PCI:", "PCI:0000"))]
    assert says(*lines) == lines[1:]
    lines = [form(line) for line in (OLD, WORSE)]
    assert says(*lines) == lines


def test_what_was_repaired_in_an_earlier_boot_says_nothing_of_this_one(
    says: Callable[..., list[str]],
) -> None:
    lines = [f"[  900.0] {RECOVERED}", f"[  901.0] {BANNER}", f"[    6.0] {OLD}", f"[    7.0] {NEW}"]
    assert says(*lines) == lines[2:]


def test_a_boot_ends_what_was_repaired_before_it(says: Callable[..., list[str]]) -> None:
    assert says(OLD, LOADED, RECOVERED, BANNER, OLD) == [BANNER, OLD]


def test_what_was_repaired_while_nobody_read_is_no_news_either(tmp_path: Path) -> None:
    log = tmp_path / "kern.log"
    log.write_text("told\n")
    first = FileFollower(log, tmp_path / "mark")
    first.read()
    first.settle()
    with log.open("a") as file:
        file.write(f"{OLD}\n{LOADED}\n{NEW}\n")
    assert FileFollower(log, tmp_path / "mark").read() == [LOADED, NEW]


def test_a_boot_begins_far_behind_in_a_large_file(says: Callable[..., list[str]]) -> None:
    storm = [f"{line} {'x' * 400}" for line in [f"[ {n}.0] {OOM}" for n in range(10_000)]]
    assert says(OLD, BANNER, *storm)[0] == BANNER


@pytest.fixture
def kmsg(tmp_path: Path) -> Iterator[Callable[[int, float, str], None]]:
    """A pipe that gives record by record, as the device does."""
    path = tmp_path / "kmsg"
    os.mkfifo(path)
    keeps_it = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 1 << 20)
    fcntl.fcntl(writer, fcntl.F_SETFL, os.O_NONBLOCK | os.O_DIRECT)
    yield (
        lambda number, at, text: os.write(writer, f"3,{number},{int(at * 1e6)},-;{text}\n".encode()) and None
    )
    os.close(writer)
    os.close(keeps_it)


def test_the_ring_is_read_from_what_it_still_holds_of_this_boot(
    tmp_path: Path, kmsg: Callable[[int, float, str], None]
) -> None:
    for number, text in enumerate([OLD, OTHER, LOADED, OOM, NEW], 7):
        kmsg(number, number, text)
    follower = KmsgFollower(tmp_path / "kmsg", tmp_path / "mark")
    lines = follower.read()
    assert follower.read_back
    assert [line.partition("] ")[2] for line in lines] == [LOADED, OOM, NEW]
    follower.settle()
    kmsg(12, 12.0, OTHER)
    assert [line.partition("] ")[2] for line in follower.read()] == [OTHER]
    assert not follower.read_back
    kmsg(11, 11.0, NEW)
    kmsg(12, 12.0, OTHER)
    (line,) = KmsgFollower(tmp_path / "kmsg", tmp_path / "mark").read()
    assert line.endswith(OTHER), "it was read and is not settled"


def test_the_ring_is_read_in_turns_too(
    tmp_path: Path, kmsg: Callable[[int, float, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_log, "LINES", 40)
    for number in range(100):
        kmsg(number, 1.0, f"line {number}")
    follower = KmsgFollower(tmp_path / "kmsg", tmp_path / "mark")
    turns = [len(follower.read()) for _ in range(4)]
    assert turns == [40, 40, 20, 0]
    for number in range(100, 200):
        kmsg(number, 1.0, f"line {number}")
    assert [len(follower.read()) for _ in range(4)] == [40, 40, 20, 0]


@pytest.mark.parametrize("line", [f"[{{stamp:12.6f}}] {OLD}", f"gpu-7 kernel: [{{stamp:.3f}}] {OLD}"])
def test_a_line_is_as_old_as_its_kernel_time_says(line: str) -> None:
    stamp = time.monotonic() - 5
    assert age(line.format(stamp=stamp), 1e9) == pytest.approx(5, abs=1)


def test_a_line_without_kernel_time_is_as_old_as_its_date_says_or_as_it_can_be() -> None:
    long_ago = f"2024-05-01T12:00:00.123456+02:00 gpu-7 kernel: {OLD}"
    assert age(long_ago, 1e9) == pytest.approx(time.time() - 1714557600.123, abs=1)
    said = time.strftime("%b %e %H:%M:%S", time.localtime(time.time() - 3600))
    assert age(f"{said} gpu-7 kernel: {OLD}", 1e9) == pytest.approx(3600, abs=2)
    next_week = time.strftime("%b %e %H:%M:%S", time.localtime(time.time() + 7 * 86400))
    assert 350 * 86400 < age(f"{next_week} gpu-7 kernel: {OLD}", 1e9) < 366 * 86400
    assert age(f"Feb 31 12:00:00 gpu-7 kernel: {OLD}", 77.0) == 77.0
    assert age(OLD, 77.0) == 77.0
    assert age(f"[{time.monotonic() + 1e6:.3f}] {OLD}", 77.0) == 0.0
