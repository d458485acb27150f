"""What stands in the middle of a kernel's record, a name with the end of a line in it too, begins nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sentinel.adapters.kernel_log import FileFollower, KmsgFollower
from sentinel.checks import kernel, oom, sxid, xid
from sentinel.model.check import Machine
from sentinel.model.kernel_line import Records, continues, said
from sentinel.runtime.probe import NoGpus

XID = "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus."
LOST = "NVRM: GPU 0000:01:00.0: GPU has fallen off the bus."
KILLED = "Out of memory: Killed process 4321 (python3) total-vm:1kB, anon-rss:1kB"
FATAL = "nvidia-nvswitch3: SXid (PCI:0000:05:00.0): 20034, Fatal, Link 62 LTSSM Fault Up"
WORDS = [XID, LOST, KILLED, FATAL, f"kernel: {XID}", f"[    9.000000] {XID}", f"n1 kernel: {XID}"]
QUOTERS = {
    "a path with an executable stack": "process '/tmp/{}' started with executable stack",
    "a path with the end of a line": "process '/tmp/x\n{}' started with executable stack",
    "a segfault in a file of that name": "python3[42]: segfault at 0 ip 0 sp 0 error 4 in {}[400000+1000]",
    "the same after the end of a line": "python3[42]: segfault at 0 ip 0 sp 0 error 4 in x\n{}[400000+1000]",
    "a module of that name": "x: {}: loading out-of-tree module taints kernel.",
    "a control group of that name": "python3: page allocation failure: order:0, cpuset=\n{},mems_allowed=0",
    "a device of that name": "usb 1-1: Product: {}",
    "a driver's own record": "NVRM: x[42]: segfault at 0 ip 0000 sp 0000 error 4 in x\n{}",
}


def findings(lines: list[str]) -> list[str]:
    machine = Machine("n", NoGpus(), None, kernel_lines=tuple(lines), pci={"0000:01:00": 0})
    checks = (xid, sxid, oom, kernel)
    return [f.code for check in checks for f in check.judge(check.measure(machine))]  # type: ignore[attr-defined]


def dmesg(record: str) -> str:
    first, *more = record.split("\n")
    return "\n".join([f"[   12.345678] {first}", *(f"               {line}" for line in more)])


def journal(record: str) -> str:
    first, *more = record.split("\n")
    return "\n".join([f"Nov 29 13:00:01 n1 kernel: {first}", *(f"{' ' * 27}{line}" for line in more)])


def syslog(record: str) -> str:
    return "\n".join(f"Nov 29 13:00:01 n1 kernel: [   12.345678] {line}" for line in record.split("\n"))


def raw(record: str) -> str:
    return f"Nov 29 13:00:01 n1 kernel: [   12.345678] {record}"


def printk(record: str) -> str:
    return "\n".join(f"<4>[   12.345678] {line}" for line in record.split("\n"))


FORMS: dict[str, Callable[[str], str]] = {
    "dmesg": dmesg,
    "journalctl": journal,
    "from /proc/kmsg": syslog,
    "not escaped": raw,
    "dmesg -r": printk,
}
QUOTED = [
    (form, words)
    for form in FORMS
    for words in WORDS
    if form != "not escaped" or words.startswith(("N", "O"))
]
"""Who can write any line into a log can write the kernel's whole line, too."""


@pytest.mark.parametrize(("form", "words"), QUOTED)
@pytest.mark.parametrize("quoter", QUOTERS)
def test_what_a_record_quotes_says_nothing(tmp_path: Path, form: str, words: str, quoter: str) -> None:
    log = tmp_path / "kern.log"
    log.write_text(FORMS[form]("ready") + "\n")
    follower = FileFollower(log)
    follower.read()
    with log.open("a") as file:
        file.write(FORMS[form](QUOTERS[quoter].replace("{}", words)) + "\n")
    assert findings(follower.read()) == []


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("quoter", QUOTERS)
def test_what_a_record_of_the_device_quotes_says_nothing(words: str, quoter: str) -> None:
    record = QUOTERS[quoter].replace("{}", words).replace("\n", "\\x0a").encode()
    line = KmsgFollower(Path("/nonexistent"))._message(b"4,1,12345678,-;" + record + b"\n")
    assert line is not None
    assert findings([line]) == []


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("words", [XID, LOST, KILLED, FATAL])
def test_what_the_kernel_says_itself_is_heard(tmp_path: Path, form: str, words: str) -> None:
    log = tmp_path / "kern.log"
    before = FORMS[form]("process '/tmp/x' started with executable stack").replace("12.345678", "12.345677")
    log.write_text(f"{before}\n{FORMS[form](words)}\n")
    assert len(findings(FileFollower(log).read())) == 1


@pytest.mark.parametrize("form", FORMS)
def test_the_three_lines_of_a_lost_gpu_are_one_record(tmp_path: Path, form: str) -> None:
    record = (
        "NVRM: The NVIDIA GPU 0000:01:00.0\nNVRM: (PCI ID: 10de:26b5) installed in this system has\n"
        "NVRM: fallen off the bus and is not responding to commands."
    )
    log = tmp_path / "kern.log"
    log.write_text(FORMS[form]("ready").replace("12.345678", "12.345677") + "\n" + FORMS[form](record) + "\n")
    machine = Machine(
        "n", NoGpus(), None, kernel_lines=tuple(FileFollower(log).read()), pci={"0000:01:00": 0}
    )
    (found,) = xid.judge(xid.measure(machine))
    assert (found.code, found.component) == ("gpu-lost", "gpu-0")


@pytest.mark.parametrize("message", [f"hello\n{XID}", f"hello\n{XID}\n{KILLED}", f"\n{XID}"])
@pytest.mark.parametrize("indent", ["", " ", "\t", " " * 30])
def test_a_programs_message_of_several_lines_is_all_the_programs(
    tmp_path: Path, message: str, indent: str
) -> None:
    log = tmp_path / "syslog"
    log.write_text("Nov 29 13:00:01 n1 app[7]: " + message.replace("\n", f"\n{indent}") + "\n")
    assert findings(FileFollower(log).read()) == []


def test_it_is_so_over_several_reads_and_for_the_next_reader(tmp_path: Path) -> None:
    log = tmp_path / "syslog"
    log.write_text("Nov 29 13:00:00 n1 kernel: [    1.000001] ready\nNov 29 13:00:01 n1 app[7]: hello\n")
    first = FileFollower(log, tmp_path / "mark")
    assert len(first.read()) == 1
    first.settle()
    with log.open("a") as file:
        file.write(f"{XID}\n")
    assert first.read() == []
    assert FileFollower(log, tmp_path / "mark").read() == []


def test_a_log_of_nothing_but_what_the_kernel_says_is_read(tmp_path: Path) -> None:
    log = tmp_path / "kern.log"
    log.write_text(f"usb 1-1: new device\n{XID}\n")
    assert FileFollower(log).read() == ["usb 1-1: new device", XID]


@pytest.mark.parametrize("words", ["Linux version 6.8", "Command line: quiet", "NVRM: loading NVIDIA UNIX x"])
@pytest.mark.parametrize("form", FORMS)
def test_a_quoted_boot_or_driver_hides_nothing(tmp_path: Path, form: str, words: str) -> None:
    log = tmp_path / "kern.log"
    said_before = FORMS[form](XID).replace("12.345678", "11.000001")
    quoting = FORMS[form](f"python3[42]: segfault at 0 in x\n{words}[400000+1000]")
    log.write_text(f"{said_before}\n{quoting}\n")
    assert findings(FileFollower(log).read()) == ["xid-79"]


def test_a_quoted_boot_in_the_device_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may be called "\\nLinux version ", which is all of its 15 characters."""
    records = [(1, f"[   11.000001] {XID}"), (2, "[   12.345678] \nLinux version [42]: segfault at 0")]
    monkeypatch.setattr(KmsgFollower, "_records", lambda self: _numbered(self, records))
    follower = KmsgFollower(Path("/dev/null"), tmp_path / "mark")
    assert findings(follower.read()) == ["xid-79"]


def _numbered(follower: KmsgFollower, records: list[tuple[int, str]]):  # type: ignore[no-untyped-def]
    for number, text in records:
        follower._sequence = number
        yield text


def test_early_in_a_boot_all_records_are_of_one_moment() -> None:
    records = Records()
    lines = [f"[    0.000000] {words}" for words in ("Linux version 6", "Command line: quiet", XID)]
    assert [records.hear(line) for line in lines] == lines


def test_two_records_of_one_moment_that_begin_alike_are_two() -> None:
    records = Records()
    lines = [f"[   12.345678] {XID}", f"[   12.345678] {XID.replace('0000:01', '0000:02')}"]
    assert [records.hear(line) for line in lines] == lines


def test_what_continues_a_record_is_said_with_a_blank_before() -> None:
    assert said(f"    {XID}") == f" {XID}"
    assert continues(f"[ 1.5] {XID}", f"    {XID}")
    assert not continues("", XID)
