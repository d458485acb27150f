from pathlib import Path

import pytest

from sentinel import runbooks
from sentinel.checks import xid
from sentinel.model.check import Machine, RankProcess, series
from sentinel.model.finding import Finding, Health
from sentinel.runtime.probe import NoGpus

# from the kernel log of an H200, driver 580, after a kernel wrote out of bounds
CAPTURE = (Path(__file__).parents[1] / "captures/xid_31_h200.log").read_text()


def findings(*lines: str, error: str = "") -> list[Finding]:
    machine = Machine("n", NoGpus(), None, kernel_lines=lines, kernel_error=error, pci={"0000:00:06": 3})
    return list(xid.judge(xid.measure(machine)))


def test_a_captured_line_gives_its_gpu_process_and_action() -> None:
    (finding,) = findings(CAPTURE)
    assert (finding.code, finding.component, finding.health) == ("xid-31", "gpu-3", Health.WARNING)
    assert finding.event
    assert finding.evidence["pid"] == 401
    assert finding.evidence["process"] == "python3"
    assert finding.evidence["action"] == "RESTART_APP"
    assert finding.evidence["line"] == CAPTURE.strip()


@pytest.mark.parametrize(
    ("code", "health"),
    [
        (13, Health.WARNING),
        (31, Health.WARNING),
        (43, Health.WARNING),
        (45, Health.WARNING),
        (63, Health.WARNING),
        (94, Health.WARNING),
        (46, Health.CRITICAL),
        (48, Health.CRITICAL),
        (64, Health.CRITICAL),
        (74, Health.CRITICAL),
        (79, Health.CRITICAL),
        (95, Health.CRITICAL),
        (119, Health.CRITICAL),
        (140, Health.CRITICAL),
        (158, Health.CRITICAL),
        pytest.param(165, Health.UNKNOWN, id="catalogued without an action"),
        pytest.param(999, Health.UNKNOWN, id="not catalogued"),
    ],
)
def test_health_follows_the_catalogue_and_the_field(code: int, health: Health) -> None:
    assert xid.health_of(code) is health


def test_no_code_reads_as_healthy() -> None:
    assert all(xid.health_of(code) is not Health.OK for code in range(1, 300))


@pytest.mark.parametrize(
    ("line", "component", "pid"),
    [
        pytest.param(
            "NVRM: Xid (PCI:0000:00:06): 79, GPU has fallen off the bus.", "gpu-3", None, id="no process"
        ),
        pytest.param(
            "[  12.5] NVRM: Xid (PCI:00000000:00:06.0): 13, pid='7', name=a b, x", "gpu-3", 7, id="long"
        ),
        pytest.param(
            "NVRM: Xid (PCI:0000:AB:00): 48, pid=<unknown>, name=<unknown>", "pci:0000:ab:00", None, id="?"
        ),
    ],
)
def test_spellings_of_the_line(line: str, component: str, pid: int | None) -> None:
    (finding,) = findings(line)
    assert (finding.component, finding.evidence.get("pid")) == (component, pid)


def test_other_lines_say_nothing_and_an_unreadable_log_is_unknown() -> None:
    assert findings("usb 1-1: new device", "NVRM: loading NVIDIA UNIX driver") == []
    (finding,) = findings(error="/dev/kmsg: Operation not permitted")
    assert (finding.code, finding.health) == ("kernel-log-unreadable", Health.UNKNOWN)


def test_counts_show_zeros_and_keep_labels_bounded() -> None:
    lines = tuple(f"NVRM: Xid (PCI:0000:ff:00): {code}, x" for code in range(1000, 1100))
    sample = xid.measure(Machine("n", NoGpus(), None, kernel_lines=(CAPTURE, *lines), pci={"0000:00:06": 3}))
    counts = xid.counts(sample)
    assert counts[series("xid_events_total", xid="31", gpu="3")] == 1
    assert counts[series("xid_events_total", xid="79", gpu="3")] == 0
    assert counts[series("xid_events_total", xid="other", gpu="other")] == 100
    assert counts[series("xid_events_total", xid="79", gpu="other")] == 0
    assert counts[series("xid_events_total", xid="31", gpu="other")] == 0
    of_a_node = xid.counts(
        xid.measure(Machine("n", NoGpus(), None, pci={f"0000:{n:02}:00": n for n in range(8)}))
    )
    assert len(of_a_node) < 320


NVLINK5 = "NVRM: Xid (PCI:0000:00:06): {}, {} XC0 i0 Link 09 ({} {} 0x00000000 0x00000000)"


@pytest.mark.parametrize(
    ("xid_", "event", "info", "status", "code", "health"),
    [
        pytest.param(
            149, "NETIR_LINK_EVT  Fatal  ", "0x004525c6", "0x00000000", "nvlink5-fatal", Health.CRITICAL,
            id="link down for its signal: reset the GPU",
        ),
        pytest.param(
            149, "NETIR_LINK_EVT  Fatal  ", "0x028025c6", "0x00000000", "xid-149", Health.WARNING,
            id="link down because of the host: ignore here",
        ),
        pytest.param(
            144, "SAW_MVB Fatal", "0x00000001", "0x00000002", "nvlink5-fatal", Health.CRITICAL,
            id="the second layout",
        ),
        pytest.param(
            144, "SAW_MVB Nonfatal", "0x00000001", "0x00000004", "xid-144", Health.WARNING, id="ignore"
        ),
        pytest.param(
            145, "RLW_REMAP Nonfatal", "0x00000004", "0x00000001", "xid-145", Health.WARNING,
            id="the driver will say in an Xid 154",
        ),
        pytest.param(
            149, "NETIR_LINK_EVT Fatal", "0x03f025c6", "0x00000000", "xid-149", Health.UNKNOWN,
            id="a reason that the table does not know",
        ),
        pytest.param(
            147, "SAW_MVB Fatal", "0x00000001", "0x00000002", "xid-147", Health.UNKNOWN,
            id="a unit of another code",
        ),
    ],
)  # fmt: skip
def test_the_registers_of_an_nvlink5_line_decide(
    xid_: int, event: str, info: str, status: str, code: str, health: Health
) -> None:
    (finding,) = findings(NVLINK5.format(xid_, event, info, status))
    assert (finding.code, finding.component, finding.health) == (code, "gpu-3", health)


def test_an_nvlink5_line_without_registers_is_unknown() -> None:
    (finding,) = findings(
        "NVRM: Xid (PCI:0000:00:06): 149, NETIR_LINK_EVT Fatal XC 1 i 2 Link 01 [0x0000000a]"
    )
    assert (finding.code, finding.health) == ("xid-149", Health.UNKNOWN)


RECOVERY = "NVRM: Xid (PCI:0000:00:06): 154, GPU recovery action changed from {}"


@pytest.mark.parametrize(
    ("change", "code", "health"),
    [
        pytest.param("0x0 (None) to 0x1 (GPU Reset Required)", "gpu-recovery", Health.CRITICAL, id="reset"),
        pytest.param("0x1 (GPU Reset Required) to 0x2 (Node Reboot Required)", "gpu-recovery",
                     Health.CRITICAL, id="reboot"),
        pytest.param("0x0 (None) to 0x2 (OS Reboot)", "gpu-recovery", Health.CRITICAL, id="newer words"),
        pytest.param("None to Node Reboot Required", "gpu-recovery", Health.CRITICAL, id="without numbers"),
        pytest.param("0x0 (None) to 0x4 (Drain and Reset)", "gpu-recovery", Health.CRITICAL, id="drain"),
        pytest.param("0x0 (None) to 0x3 (Drain P2P)", "xid-154", Health.WARNING, id="peer to peer only"),
        pytest.param("0x1 (GPU Reset Required) to 0x0 (None)", "xid-154", Health.WARNING, id="over"),
        pytest.param("0x0 (None) to 0x9 (Pray)", "xid-154", Health.UNKNOWN, id="never heard of"),
    ],
)  # fmt: skip
def test_the_drivers_own_verdict_is_taken_at_its_word(change: str, code: str, health: Health) -> None:
    (finding,) = findings(RECOVERY.format(change))
    assert (finding.code, finding.component, finding.health) == (code, "gpu-3", health)


def called(line: str, fatal: tuple[int, ...] = (), ignored: tuple[int, ...] = ()) -> tuple[str, Health]:
    machine = Machine(
        "n",
        NoGpus(),
        None,
        kernel_lines=(line,),
        processes=(RankProcess(101, "python3", 0),),
        xid_fatal=frozenset(fatal),
        xid_ignored=frozenset(ignored),
    )
    (found,) = xid.judge(xid.measure(machine))
    return found.code, found.health


OURS_31 = "NVRM: Xid (PCI:0000:01:00): 31, pid=101, name=python3, Ch 00000008"
THEIRS_31 = "NVRM: Xid (PCI:0000:01:00): 31, pid=4242, name=Xorg, Ch 00000008"
LOST_79 = "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus."
UNKNOWN_999 = "NVRM: Xid (PCI:0000:01:00): 999, what no table knows"


def test_the_operators_lists_have_the_last_word() -> None:
    assert called(OURS_31) == ("xid-31", Health.WARNING)
    assert called(OURS_31, fatal=(31,)) == ("xid-called-fatal", Health.CRITICAL)
    assert called(UNKNOWN_999) == ("xid-999", Health.UNKNOWN)
    assert called(UNKNOWN_999, fatal=(999,)) == ("xid-called-fatal", Health.CRITICAL)
    assert called(LOST_79, fatal=(79,)) == ("xid-79", Health.CRITICAL), "its own runbook knows more"
    assert called(LOST_79, ignored=(79,)) == ("xid-79-ignored", Health.WARNING)
    assert called(OURS_31, fatal=(13,), ignored=(43,)) == ("xid-31", Health.WARNING)


def test_a_strangers_error_stays_a_strangers_whatever_it_is_called() -> None:
    assert called(THEIRS_31, fatal=(31,)) == ("xid-31-stranger", Health.WARNING)


def test_what_is_called_fatal_has_a_runbook_and_what_is_ignored_has_none() -> None:
    asked = {match.finding for book in runbooks.load().values() for match in book.matches}
    assert xid.CALLED_FATAL in asked
    assert not any(code.endswith(f"-{xid.IGNORED}") for code in asked)
