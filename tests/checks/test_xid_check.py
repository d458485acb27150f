from pathlib import Path

import pytest

from sentinel.checks import xid
from sentinel.model.check import Machine
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
    assert counts['xid_events_total{xid="31",gpu="3"}'] == 1
    assert counts['xid_events_total{xid="79",gpu="3"}'] == 0
    assert counts['xid_events_total{xid="other",gpu="other"}'] == 100
    assert len(counts) < 200
