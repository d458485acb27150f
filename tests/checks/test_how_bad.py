"""How bad a line of NVIDIA's driver is: by its registers, its numbers and its words."""

import pytest

from sentinel.checks import xid
from sentinel.model.check import Machine
from sentinel.model.finding import Finding, Health
from sentinel.runtime.probe import NoGpus


def findings(*lines: str) -> list[Finding]:
    machine = Machine("n", NoGpus(), None, kernel_lines=lines, pci={"0000:01:00": 0})
    return list(xid.judge(xid.measure(machine)))


def nvlink(*registers: int, link: int = 14) -> Finding:
    shown = ", ".join(f"0x{each:x}" for each in (*registers, *[0] * 7)[:7])
    said = f"pid='<unknown>', name=<unknown>, NVLink: fatal error detected on link {link}({shown})"
    (finding,) = findings(f"[449410.332316] NVRM: Xid (PCI:0000:01:00): 74, {said}")
    return finding


@pytest.mark.parametrize(
    ("registers", "code", "health", "strikes"),
    [
        pytest.param([1 << 23], "nvlink-ignorable", Health.WARNING, None, id="1.23"),
        pytest.param([1 << 0 | 1 << 30], "nvlink-ignorable", Health.WARNING, None, id="1.0 and 1.30"),
        pytest.param([0, 0, 0, 0, 1 << 20], "nvlink-ignorable", Health.WARNING, None, id="5.20: continue"),
        pytest.param([1 << 1], "nvlink-secondary", Health.WARNING, None, id="1.1: follow the other"),
        pytest.param([1 << 20 | 1 << 23], "nvlink-secondary", Health.WARNING, None, id="1.20 beside 1.23"),
        pytest.param([0, 0, 0, 1 << 18], "nvlink-secondary", Health.WARNING, None, id="4.18"),
        pytest.param([1 << 4], "nvlink-strike", Health.WARNING, 3, id="1.4: from the third on"),
        pytest.param([0, 0, 1 << 6], "nvlink-strike", Health.WARNING, 3, id="3.6"),
        pytest.param([0, 0, 0, 0, 1 << 28], "nvlink-strike", Health.WARNING, 3, id="5.28"),
        pytest.param([1 << 17], "nvlink-strike", Health.WARNING, 2, id="1.17: from the second on"),
        pytest.param([0, 0, 0x10000], "nvlink-strike", Health.WARNING, 2, id="3.16"),
        pytest.param([1 << 4 | 1 << 8], "nvlink-strike", Health.WARNING, 2, id="the heavier of two"),
        pytest.param([1 << 21], "xid-74", Health.CRITICAL, None, id="1.21"),
        pytest.param([1 << 22 | 1 << 23 | 1 << 4], "xid-74", Health.CRITICAL, None, id="1.22 beside others"),
        pytest.param([0, 0, 1 << 13], "xid-74", Health.CRITICAL, None, id="3.13"),
        pytest.param([1 << 2], "nvlink-unknown", Health.UNKNOWN, None, id="1.2: not in the workflow"),
        pytest.param([0, 1 << 21, 0, 0, 0, 7, 7], "nvlink-unknown", Health.UNKNOWN, None, id="none judged"),
    ],
)  # fmt: skip
def test_the_registers_of_an_xid_74_decide(
    registers: list[int], code: str, health: Health, strikes: int | None
) -> None:
    found = nvlink(*registers)
    assert (found.code, found.health, found.evidence.get("strikes")) == (code, health, strikes)


def test_an_xid_74_without_registers_is_fatal_and_a_link_is_named_where_there_is_one() -> None:
    (bare,) = findings("NVRM: Xid (PCI:0000:01:00): 74, NVLink: link training failed")
    assert (bare.code, bare.health) == ("xid-74", Health.CRITICAL)
    found = nvlink(1 << 23, link=3)
    assert (found.evidence["place"], found.evidence["bits"]) == ("link 3", "1.23")


RECOVERY = "NVRM: Xid (PCI:0000:01:00): 154, GPU recovery action changed from {}"


@pytest.mark.parametrize(
    ("change", "health"),
    [
        pytest.param("0x0 (None) to 0x1 (PF FLR)", Health.CRITICAL, id="new words for a reset"),
        pytest.param("0x0 (None) to 0x1 (Anything At All)", Health.CRITICAL, id="any words for a reset"),
        pytest.param("0x0 (None) to 0x1", Health.CRITICAL, id="no words"),
        pytest.param("0x0 (None) to 0x6 (Bus Reset)", Health.CRITICAL, id="bus reset"),
        pytest.param("0x0 (None) to 0x7 (System Reboot)", Health.CRITICAL, id="system reboot"),
        pytest.param("0x0 (None) to 0x3 (GPU Reset)", Health.WARNING, id="the number, not the words"),
        pytest.param("0x0 (None) to 0x5 (Recover IMEX Domain)", Health.WARNING, id="not this GPU's"),
        pytest.param("0x2 (OS Reboot) to 0x0 (None)", Health.WARNING, id="over"),
        pytest.param("None to GPU Reset", Health.CRITICAL, id="words without a number"),
        pytest.param("0x0 (None) to 0x8 (GPU Reset Required)", Health.UNKNOWN, id="a number never heard of"),
        pytest.param(f"0x0 (None) to 0x{'1' * 400} (None)", Health.UNKNOWN, id="a number without end"),
        pytest.param("0x0 (None) to", Health.UNKNOWN, id="cut off"),
    ],
)  # fmt: skip
def test_a_recovery_action_is_read_by_its_number(change: str, health: Health) -> None:
    (found,) = findings(RECOVERY.format(change))
    assert found.health is health
    assert found.code == ("gpu-recovery" if health is Health.CRITICAL else "xid-154")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("Graphics SM Warp Exception on (GPC 9, TPC 1, SM 1): Out Of Range Address", "GPC 9 TPC 1"),
        ("Graphics SM Global Exception on (GPC 10, TPC 4, SM 0): Multiple Warp Errors", "GPC 10 TPC 4"),
        ("Graphics Exception on GPC 2 TPC 0: invalid", "GPC 2 TPC 0"),
        ("Graphics Exception: ESR 0x51df30=0x100e 0x51df34=0x0", None),
    ],
)
def test_an_xid_13_says_which_part_of_the_gpu(text: str, place: str | None) -> None:
    (found,) = findings(f"NVRM: Xid (PCI:0000:01:00): 13, pid=101, name=python3, {text}")
    assert found.evidence.get("place") == place


@pytest.mark.parametrize(
    ("address", "mig"),
    [
        ("PCI:0000:01:00 GPU-I:05 GPU-CI:00", "GPU-I:05 GPU-CI:00"),
        ("PCI:0000:01:00 GPU-I:05", "GPU-I:05"),
        ("PCI:0000:01:00", None),
        ("0000:01:00", None),
        ("PCI:00000000:01:00.0", None),
    ],
)
@pytest.mark.parametrize(("code", "health"), [(95, Health.CRITICAL), (94, Health.WARNING)])
def test_a_gpu_is_found_by_its_address_with_a_mig_instance_or_without(
    address: str, mig: str | None, code: int, health: Health
) -> None:
    (found,) = findings(f"NVRM: Xid ({address}): {code}, pid='<unknown>', name=<unknown>, Contained: x")
    assert (found.component, found.code, found.health) == ("gpu-0", f"xid-{code}", health)
    assert found.evidence.get("mig") == mig


@pytest.mark.parametrize(
    ("lines", "component"),
    [
        pytest.param(
            ["[ 1843.308145] NVRM: The NVIDIA GPU 0000:01:00.0",
             "               NVRM: (PCI ID: 10de:26b5) installed in this system has",
             "               NVRM: fallen off the bus and is not responding to commands.",
             "[ 1843.439662] NVRM: The NVIDIA probe routine failed for 1 device(s)."],
            "gpu-0", id="three lines",
        ),
        pytest.param(
            ["Mar 03 07:00:00 n1 kernel: NVRM: The NVIDIA GPU 0000:01:00.0 (PCI ID: 10de:1e07)",
             "Mar 03 07:00:00 n1 systemd[1]: NVRM: The NVIDIA GPU 0000:02:00.0",
             "Mar 03 07:00:00 n1 kernel: NVRM: installed in this system has fallen off the bus and is not"],
            "gpu-0", id="two lines, and somebody between them",
        ),
        pytest.param(
            ["NVRM: The NVIDIA GPU 0000:01:00.0 (PCI ID: 10de:2330) installed in this system has"
             " fallen off the bus and is not responding to commands."],
            "gpu-0", id="one line",
        ),
        pytest.param(["NVRM: GPU 0000:01:00.0: GPU has fallen off the bus."], "gpu-0", id="beside an Xid 79"),
        pytest.param(["NVRM: GPU at PCI:0000:01:00 has\n fallen off the bus."], "gpu-0", id="one record"),
        pytest.param(["[1.0] NVRM: fallen off the bus and is not"], "pci:unknown", id="the end"),
        pytest.param(
            ["NVRM: GPU 0000:07:00.0", "NVRM: a", "NVRM: b", "NVRM: c", "NVRM: fallen off the bus"],
            "pci:unknown", id="long after an address",
        ),
    ],
)  # fmt: skip
def test_a_gpu_that_fell_off_the_bus_is_lost_without_an_xid(lines: list[str], component: str) -> None:
    (found,) = findings(*lines)
    assert (found.code, found.component, found.health, found.event) == (
        "gpu-lost", component, Health.CRITICAL, True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "Nov 29 13:00:01 n1 sudo[4242]: COMMAND=/usr/bin/grep -c NVRM: Xid (PCI:0000:01:00): 79, x",
        "app: I read NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.",
        "[   12.3] systemd[1]: NVRM: The NVIDIA GPU 0000:01:00.0 has fallen off the bus",
        "NVRM: Xid (PCI:0000:01:00): 1234567, x",
        "NVRM: Xid (PCI:0000:01): 79, x",
        "NVRM: Xid",
    ],
)
def test_what_only_quotes_the_driver_or_is_no_xid_says_nothing(line: str) -> None:
    assert findings(line) == []


WARP = "pid=101, name=python3, Graphics SM Warp Exception on (GPC {}, TPC {}, SM 0): Out Of Range Address"
ESR = "pid=101, name=python3, Graphics Exception: ESR 0x57c730=0xc04000b 0x57c734=0x24 0x57c728=0x1f81fb60"


def thirteen(text: str, gpu: str = "01", mig: str = "") -> str:
    return f"NVRM: Xid (PCI:0000:{gpu}:00{mig}): 13, {text}"


def test_what_follows_an_xid_13_is_about_the_part_that_it_names() -> None:
    lines = [thirteen(WARP.format(7, 2)), thirteen(ESR), thirteen(WARP.format(3, 1)), thirteen(ESR)]
    places = [found.evidence.get("place") for found in findings(*lines)]
    assert places == ["GPC 7 TPC 2", "GPC 7 TPC 2", "GPC 3 TPC 1", "GPC 3 TPC 1"]


def test_what_stands_alone_or_is_of_another_gpu_names_no_part() -> None:
    lines = [thirteen(ESR), thirteen(WARP.format(7, 2)), thirteen(ESR, gpu="02")]
    places = [found.evidence.get("place") for found in findings(*lines)]
    assert places == [None, "GPC 7 TPC 2", None]


def test_a_mig_instance_is_a_part_of_its_gpu() -> None:
    lines = [thirteen(ESR, mig=" GPU-I:05 GPU-CI:00"), thirteen(WARP.format(1, 2), mig=" GPU-I:06")]
    places = [found.evidence.get("place") for found in findings(*lines)]
    assert places == ["GPU-I:05", "GPU-I:06 GPC 1 TPC 2"]
