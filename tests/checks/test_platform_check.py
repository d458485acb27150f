from collections.abc import Sequence
from pathlib import Path

import of_gpus
import pytest

from sentinel.checks import platform
from sentinel.demo.nvml import StandIn
from sentinel.model.check import Detail, Machine, series
from sentinel.model.finding import Health
from sentinel.runtime.probe import NoGpus, probe


def block(
    name: str,
    active: str = "active",
    sub: str = "running",
    file: str = "enabled",
    load: str = "loaded",
    result: str = "success",
    condition: str = "yes",
) -> str:
    """Give a block as `systemctl show` writes it."""
    return (
        f"Id={name}.service\nLoadState={load}\nActiveState={active}\nSubState={sub}\n"
        f"UnitFileState={file}\nResult={result}\nConditionResult={condition}\n"
    )


def told(text: str, memory: platform.Memory, switches: Path = Path("/nowhere")) -> list[tuple[str, Health]]:
    found = list(platform.judge(platform.look(text, switches, memory)))
    return [(each.code, each.health) for each in found]


UP = block("containerd")
ABSENT = block("slurmd", "inactive", "dead", "", "not-found", condition="no")
DOWN = [("service-down", Health.WARNING)]


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        pytest.param(f"{UP}\n{ABSENT}", [], [], id="up, and one that is not installed"),
        pytest.param(block("kubelet", "failed", "failed", result="exit-code"), DOWN, DOWN, id="failed"),
        pytest.param(block("kubelet", "inactive", "dead"), [], DOWN, id="enabled and down"),
        pytest.param(block("kubelet", "inactive", "dead", "disabled"), [], [], id="not wanted"),
        pytest.param(block("kubelet", "inactive", "dead", condition="no"), [], [], id="no condition for it"),
        pytest.param(block("kubelet", "activating", "auto-restart"), [], [], id="is being started"),
        pytest.param(block("kubelet", "inactive", "dead", "masked", "masked"), [
            ("not-applicable", Health.SKIPPED)], [("not-applicable", Health.SKIPPED)], id="masked"),
    ],
)  # fmt: skip
def test_what_systemd_says_of_a_service(
    text: str, first: list[tuple[str, Health]], second: list[tuple[str, Health]]
) -> None:
    memory = platform.Memory()
    assert told(text, memory) == first
    assert told(text, memory) == second


def test_one_that_was_up_and_is_stopped_is_missed_even_if_nobody_enabled_it() -> None:
    memory, stopped = platform.Memory(), block("docker", "inactive", "dead", "disabled")
    told(block("docker", file="disabled"), memory)
    assert told(stopped, memory) == [], "it may be being restarted"
    assert told(stopped, memory) == DOWN
    assert told(block("docker", file="disabled"), memory) == []


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        pytest.param(["0000:05:00.0"], [("fabric-manager-down", Health.WARNING)], id="with NVSwitches"),
        pytest.param([], [], id="without it has nothing to do"),
    ],
)
def test_the_fabric_manager_matters_where_there_are_switches(
    tmp_path: Path, switches: list[str], expected: list[tuple[str, Health]]
) -> None:
    for name in switches:
        (tmp_path / name).mkdir()
    assert told(FAILED, platform.Memory(), tmp_path) == expected


FAILED = block("nvidia-fabricmanager", "failed", "failed", result="exit-code")


def test_a_fabric_manager_that_was_up_is_missed_also_where_no_switch_is_listed() -> None:
    memory = platform.Memory()
    told(block("nvidia-fabricmanager"), memory)
    assert told(FAILED, memory) == DOWN


@pytest.mark.parametrize(
    ("process", "expected"),
    [("nv-fabricmanage", []), ("nv-hostengine", [("fabric-manager-down", Health.WARNING)])],
)
def test_a_fabric_manager_in_a_container_is_one(
    tmp_path: Path, process: str, expected: list[tuple[str, Health]]
) -> None:
    (tmp_path / "switches/0000:05:00.0").mkdir(parents=True)
    (tmp_path / "proc/12").mkdir(parents=True)
    (tmp_path / "proc/12/comm").write_text(f"{process}\n")
    sample = platform.look(FAILED, tmp_path / "switches", platform.Memory(), tmp_path / "proc")
    assert [(each.code, each.health) for each in platform.judge(sample)] == expected


@pytest.mark.parametrize(
    "text", ["", "\n\n\n", "Id=kubelet.service", "no equals", "=\n=", "Id=other.service\nLoadState=loaded"]
)
def test_what_is_cut_off_names_no_service(text: str) -> None:
    assert told(text, platform.Memory()) == [("not-applicable", Health.SKIPPED)]


def test_without_systemd_the_check_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "SYSTEMD", tmp_path / "none")
    (found,) = probe(platform.CHECK, Machine("n", NoGpus(), None)).findings
    assert (found.health, found.summary) == (Health.SKIPPED, "systemd does not run here")


SCRIPTS = {"answers": f"printf '{UP}'", "fails": "exit 1", "hangs": "exec sleep 60"}


@pytest.mark.parametrize(("script", "failed"), [("answers", False), ("fails", True), ("hangs", True)])
def test_systemctl_is_asked_under_a_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, failed: bool
) -> None:
    command = tmp_path / "systemctl"
    command.write_text(f"#!/bin/sh\n{SCRIPTS[script]}\n")
    command.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(platform, "SYSTEMD", tmp_path)
    monkeypatch.setattr(platform, "WITHIN_S", 0.2 if script == "hangs" else 20.0)
    answer = probe(platform.CHECK, Machine("n", NoGpus(), None))
    assert answer.failed is failed
    if not failed:
        assert dict(answer.gauges) == {series("service_active", service="containerd"): 1.0}


@pytest.mark.parametrize(
    ("state", "health"),
    [
        pytest.param(1, Health.CRITICAL, id="not started"),
        pytest.param(2, Health.CRITICAL, id="in progress"),
        pytest.param(3, Health.WARNING, id="GPUs work"),
        pytest.param(0, Health.WARNING, id="no fabric"),
        pytest.param(None, Health.WARNING, id="a driver or a GPU that does not say"),
    ],
)
def test_a_fabric_manager_that_is_down_takes_a_node_away_only_where_gpus_wait_for_it(
    driver: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: int | None, health: Health
) -> None:
    driver.put({"fabric.state": state}, 1)
    (tmp_path / "switches/0000:05:00.0").mkdir(parents=True)
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"#!/bin/sh\ncat <<'END'\n{FAILED}\nEND\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(platform, "SYSTEMD", tmp_path)
    monkeypatch.setattr(platform, "SWITCHES", tmp_path / "switches")
    (found,) = platform.judge(platform.measure(of_gpus.machine()))
    assert (found.code, found.health) == ("fabric-manager-down", health)


def test_gpus_that_can_not_be_read_say_nothing_against_their_node() -> None:
    class Broken(NoGpus):
        def read(self, kind: type[Detail]) -> Sequence[Detail]:
            raise OSError("NVML: Driver Not Loaded")

    assert not platform._waits_for_fabric(Machine("n", Broken(), None))
