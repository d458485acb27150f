"""`sentinel check`: what a person at a suspected node sees, and what a script is told by the exit code."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from sentinel.adapters import pci_bus
from sentinel.cli import app
from sentinel.cli.check import figures
from sentinel.model.check import Check
from sentinel.model.finding import Finding, Health
from sentinel.runtime import by_hand

BOOT = "Nov 30 09:00:00 n1 kernel: [    0.000000] Linux version 5.15.0"
XID_79 = "Nov 30 09:01:00 n1 kernel: [   60.0] NVRM: Xid (PCI:0000:1a:00): 79, GPU has fallen off the bus"
EXT4 = (
    "Nov 30 09:01:01 n1 kernel: [   61.{}00000] EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2"
)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")


def check(*words: str) -> Result:
    return CliRunner().invoke(app, ["check", *words])


def gpus(where: Path, **said: Any) -> str:
    whole = {
        "uuid": "GPU-1",
        "present": True,
        "ecc_uncorrectable": 0,
        "remap_failed": False,
        "index": 0,
        **said,
    }
    (where / "gpus.json").write_text(json.dumps({"gpus": [whole]}))
    return f"simulated:{where / 'gpus.json'}"


@pytest.mark.parametrize(
    ("gpu", "expected", "code", "shown"),
    [
        pytest.param({"temperature_c": 41}, "1", 0, "gpu temperature 41 °C", id="healthy"),
        pytest.param({"temperature_c": 95}, "1", 3, "warning", id="hot"),
        pytest.param({"present": False}, "1", 4, "gpu-lost", id="a lost GPU"),
        pytest.param({}, "2", 4, "critical", id="a GPU too few"),
        pytest.param({"index": "x"}, "1", 1, "unknown", id="what can't be told is not fit"),
    ],
)
def test_the_exit_code_is_that_of_the_worst_finding(
    tmp_path: Path, gpu: dict[str, Any], expected: str, code: int, shown: str
) -> None:
    result = check("gpu", "--gpus", gpus(tmp_path, **gpu), "--expected-gpus", expected)
    assert (result.exit_code, shown in result.stdout) == (code, True), result.output


def test_no_gpu_is_skipped_and_not_ok() -> None:
    result = check("gpu", "--gpus", "none", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["health"] == "skipped"


def test_json_has_all_that_was_measured_and_where_to_read_on(tmp_path: Path) -> None:
    result = check("gpu", "--gpus", gpus(tmp_path, present=False), "--json")
    said = json.loads(result.stdout)
    assert said["health"] == "critical"
    assert said["measured"]['gpu_present{gpu="0"}'] == 0.0
    assert said["findings"][0]["runbook"].endswith("/runbook/gpu-lost")


def test_the_kernel_log_of_this_boot_is_judged_and_its_lines_are_shown(tmp_path: Path) -> None:
    log = tmp_path / "kern.log"
    log.write_text("\n".join([BOOT, XID_79, *(EXT4.format(n) for n in range(3))]) + "\n")
    result = check("xid", "kernel", "oom", "--gpus", "none", "--kernel-log", str(log))
    assert result.exit_code == 4, result.output
    rows = {
        cells[1].strip(): cells for line in result.stdout.splitlines() if len(cells := line.split("│")) > 5
    }
    assert "GPU has fallen off the bus" in rows["xid"][4]
    assert rows["xid"][5].strip() == "gpu-lost"
    assert "(3 times)" in rows["kernel"][4]
    assert rows["oom"][3].strip() == "ok"
    assert "Kernel lines of this boot: 5" in result.stdout


def test_a_kernel_log_that_can_t_be_read_is_unknown_for_every_check_of_it(tmp_path: Path) -> None:
    result = check("xid", "kernel", "oom", "--gpus", "none", "--kernel-log", str(tmp_path / "none"), "--json")
    said = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 1
    assert [each["health"] for each in said] == ["unknown"] * 3
    skipped = check("xid", "--kernel-log", "none", "--json")
    assert json.loads(skipped.stdout)["health"] == "skipped"


HANGS = "import signal, time\nfrom sentinel.model.check import Check\n" + (
    "def measure(machine):\n    time.sleep(60)\nCHECK = Check('hangs', 1.0, 0.3, measure, lambda _: (), ())\n"
)


def test_a_check_that_hangs_is_ended_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "hangs-1.0.dist-info"
    folder.mkdir()
    (tmp_path / "hangs.py").write_text(HANGS)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: hangs\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_text("[sentinel.checks]\nhangs = hangs:CHECK\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    unasked = Check("hangs", 1.0, 0.3, lambda _: None, lambda _: (), ())
    here = by_hand.Here("n1", "none", None)
    looked = by_hand.look(here, [unasked, by_hand.known()["host"]])
    hung, host = looked.results
    assert (hung.health, hung.findings[0].code) == (Health.UNKNOWN, "probe-hung")
    assert "hangs" in hung.findings[0].summary
    assert host.measured


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        pytest.param([], 1, "none at 0000:3b:00.0", id="one is missing"),
        pytest.param(["--expected-gpus", "2"], 0, "nothing found", id="two are enough"),
    ],
)
@pytest.mark.usefixtures("driver")
def test_a_gpu_that_only_the_bus_shows_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, says: str
) -> None:
    """The stand-in driver shows two GPUs, to the prober as well."""
    buses = dict.fromkeys(("0000:01:00.0", "0000:02:00.0", "0000:3b:00.0"), ("0x10de", "0x030200"))
    for address, (vendor, kind) in buses.items():
        (tmp_path / "bus" / address).mkdir(parents=True)
        (tmp_path / "bus" / address / "vendor").write_text(f"{vendor}\n")
        (tmp_path / "bus" / address / "class").write_text(f"{kind}\n")
    monkeypatch.setattr(pci_bus, "gpus", partial(pci_bus.gpus, tmp_path / "bus"))
    result = check("gpu", *words)
    assert (result.exit_code, says in result.stdout) == (code, True), result.output
    assert "GPUs found: 2, on the PCI bus: 3" in result.stdout


def test_the_worst_of_all_decides() -> None:
    found = [Finding("x", "x", "x", each, "") for each in (Health.SKIPPED, Health.UNKNOWN, Health.WARNING)]
    assert by_hand.Looked([by_hand.Result("x", [each]) for each in found], {}).worst is Health.WARNING
    assert by_hand.Looked([by_hand.Result("x", found[:1])], {}).worst is Health.OK


def test_what_loads_the_machine_runs_only_when_asked_for() -> None:
    usual = check("host", "--gpus", "none", "--json").output
    assert [json.loads(line)["check"] for line in usual.splitlines()] == ["host"]
    both = check("host", "--all", "--gpus", "none", "--json")
    measured = {said["check"]: said["measured"] for said in map(json.loads, both.output.splitlines())}
    assert both.exit_code == 0
    assert [*measured] == ["host", "gemm"]
    assert {name.split("|")[-1] for name in measured["gemm"]} >= {"wrong_numbers", "fp32_tflops"}
    alone = check("gemm", "--gpus", "none").output
    assert "wrong numbers 0" in alone
    assert alone.startswith("gemm keeps this machine busy, for 120 s at most")
    assert alone.endswith("Nothing found by 1 check\n")
    assert "Not held against the fleet: no controller can be asked here" in alone


@pytest.mark.parametrize(
    ("name", "values", "shown"),
    [
        ("nic_mtu_bytes", [1400], "1400 B"),
        ("nic_mtu_bytes", [1500, 9000], "1500 to 9000 B"),
        ("host_disk_free_bytes", [2.5e11, 1e12], "250 to 1000 GB"),
        ("nvlink_errors_total", [0], "0"),
        ("port_rate_bytes_per_second", [5e10], "50 GB/s"),
        ("gpu_power_watts", [412.4], "412 W"),
        ("cpu_wait_ratio", [0.031], "3.1%"),
    ],
)
def test_a_figure_has_the_unit_of_its_size(name: str, values: list[float], shown: str) -> None:
    assert figures(name, values) == shown
