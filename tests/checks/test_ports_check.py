import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from files import captured, plant

from sentinel.checks import _links, ports
from sentinel.checks._sysfs import UnreadableError
from sentinel.model.check import Machine, series
from sentinel.model.finding import Health
from sentinel.runtime.probe import NoGpus


def rail(index: int, **changed: str) -> dict[str, str]:
    """Give the captured H100 port as another device, with all counters."""
    files = {
        path.replace("mlx5_1", f"mlx5_{index}"): value for path, value in captured("infiniband_h100").items()
    }
    counters = {f"{folder_of(limit)}/{limit.counter}": "7" for limit in ports.LIMITS}
    own = {"counters/link_downed": "3", **counters, **changed}
    return files | {f"class/infiniband/mlx5_{index}/ports/1/{name}": value for name, value in own.items()}


def folder_of(limit: ports.Limit) -> str:
    """Say where the kernel has a counter: those of the RDMA verbs are a driver's own."""
    return "counters" if limit.code == "port-errors" else "hw_counters"


class Host:
    """A host with rails at 400 Gb/s whose files a test changes between looks."""

    def __init__(self, root: Path, rails: int = 4) -> None:
        self.root, self.memory, self.now = root, ports.Memory(), 1000.0
        for index in range(rails):
            plant(root, rail(index))

    def set(self, index: int, **files: str | bytes) -> None:
        folder = f"class/infiniband/mlx5_{index}/ports/1"
        plant(self.root, {f"{folder}/{name.replace('__', '/')}": value for name, value in files.items()})

    def down(self, index: int) -> None:
        self.set(index, state="1: DOWN", phys_state="2: Polling", rate="10 Gb/sec (4X SDR)")

    def up(self, index: int, rate: str = "400 Gb/sec (4X NDR)") -> None:
        self.set(index, state="4: ACTIVE", phys_state="5: LinkUp", rate=rate)

    def sample(self, seconds: float = 5.0) -> tuple[ports.PortSample, ...]:
        self.now += seconds
        return ports.look(self.root, self.memory, self.now)

    def look(self, seconds: float = 5.0) -> list[tuple[str, str, Health]]:
        found = ports.judge(self.sample(seconds))
        return [(each.component, each.code, each.health) for each in found]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    assert host.look() == []
    return host


@pytest.mark.parametrize("name", ["infiniband_h100", "infiniband_others"])
def test_real_ports_that_work_say_nothing(tmp_path: Path, name: str) -> None:
    plant(tmp_path, captured(name))
    memory = ports.Memory()
    for now in (10.0, 15.0):
        sample = ports.look(tmp_path, memory, now)
        assert list(ports.judge(sample)) == []
    assert {port.state for port in sample} == {"ACTIVE"}


def test_without_ports_the_check_is_skipped_once(tmp_path: Path) -> None:
    (found,) = ports.judge(ports.look(tmp_path, ports.Memory(), 1.0))
    assert (found.code, found.health) == ("not-applicable", Health.SKIPPED)


def test_a_port_that_stays_down_is_a_fault_and_one_that_heals_is_none(host: Host) -> None:
    host.down(1)
    assert host.look() == []
    assert host.look(_links.DOWN_S - 0.1) == []
    host.up(1)
    assert host.look() == []
    host.now += _links.FLAP_WINDOW_S
    host.down(1)
    host.look()
    assert host.look(_links.DOWN_S) == [("port:mlx5_1/1", "port-down", Health.CRITICAL)]
    host.up(1)
    assert host.look() == []


def test_a_port_that_never_was_up_is_no_fault(host: Host) -> None:
    plant(host.root, rail(7, state="1: DOWN", phys_state="2: Polling", rate="10 Gb/sec (4X SDR)"))
    host.look()
    assert host.look(3600.0) == []


@pytest.mark.parametrize("between", [5.0, _links.FLAP_WINDOW_S - 10.0])
def test_two_drops_in_five_minutes_are_flaps_that_stand_for_an_hour(host: Host, between: float) -> None:
    for pause in (5.0, between):
        host.down(2)
        host.look(pause)
        host.up(2)
        found = host.look()
    assert found == [("port:mlx5_2/1", "port-flapping", Health.CRITICAL)]
    assert host.look(_links.FLAP_HOLD_S - 10.0) != []
    assert host.look(20.0) == []


def test_two_drops_more_than_five_minutes_apart_are_none(host: Host) -> None:
    for _ in range(3):
        host.down(2)
        host.look(_links.FLAP_WINDOW_S)
        host.up(2)
        assert host.look() == []


@pytest.mark.parametrize(("downed", "flaps"), [("4", False), ("5", True), ("9", True)])
def test_drops_between_two_looks_are_counted_by_the_device(host: Host, downed: str, flaps: bool) -> None:
    host.set(0, counters__link_downed=downed)
    assert host.look() == [("port:mlx5_0/1", "port-flapping", Health.CRITICAL)] * flaps


def test_the_drop_that_was_seen_is_not_counted_again_by_the_device(host: Host) -> None:
    host.down(0)
    host.look()
    host.up(0)
    host.set(0, counters__link_downed="4")
    assert host.look() == []


def test_a_counter_that_went_back_counts_anew(host: Host) -> None:
    host.set(0, counters__link_downed="0", counters__symbol_error="0")
    assert host.look() == []
    host.set(0, counters__link_downed="1")
    assert host.look() == []


@pytest.mark.parametrize("limit", ports.LIMITS, ids=lambda limit: limit.counter)
def test_each_counter_has_its_limit(host: Host, limit: ports.Limit) -> None:
    name = f"{folder_of(limit)}__{limit.counter}"
    host.set(3, **{name: str(7 + limit.most)})
    assert host.look() == []
    host.set(3, **{name: str(8 + limit.most)})
    assert host.look(0.5) == [("port:mlx5_3/1", limit.code, Health.WARNING)]
    assert host.look(limit.window_s + 10.0) == [], "what is past the window is over"


def test_a_port_slower_than_before_is_a_fault(host: Host) -> None:
    host.up(1, "200 Gb/sec (4X HDR)")
    assert host.look() == [("port:mlx5_1/1", "port-slow", Health.CRITICAL)]
    host.up(1)
    assert host.look() == []


def test_a_port_slower_than_its_siblings_from_the_start_is_asked_about_by_hand_alone(host: Host) -> None:
    plant(host.root, rail(9, rate="100 Gb/sec (1X NDR)"))
    assert host.look() == []
    (found,) = ports.judge([replace(each, is_only_look=True) for each in host.sample()])
    assert (found.component, found.code, found.health) == ("port:mlx5_9/1", "port-slower", Health.WARNING)


def test_another_kind_of_adapter_may_be_slower_and_its_trouble_is_a_warning(host: Host) -> None:
    plant(host.root, captured("infiniband_others"))
    assert host.look() == []
    plant(host.root, {"class/infiniband/hfi1_0/ports/1/state": "1: DOWN"})
    host.look()
    assert host.look(_links.DOWN_S) == [("port:hfi1_0/1", "other-port-down", Health.WARNING)]


def test_a_device_is_gone_when_three_looks_miss_it(host: Host) -> None:
    shutil.rmtree(host.root / "class/infiniband/mlx5_3")
    assert [host.look() for _ in range(_links.GONE_LOOKS - 1)] == [[]] * (_links.GONE_LOOKS - 1)
    assert host.look() == [("port:mlx5_3/1", "port-gone", Health.CRITICAL)]
    plant(host.root, rail(3))
    assert host.look() == []


class Ethernet(Host):
    """The same host with RoCE ports, each with its PCI device and network interface."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        for index in range(4):
            plant(
                root, {f"devices/{index}/infiniband/mlx5_{index}/x": "", f"{self.nic(index)}/flags": "0x1003"}
            )
            (root / f"class/infiniband/mlx5_{index}/device").symlink_to(root / f"devices/{index}")
            self.set(index, link_layer="Ethernet")

    def nic(self, index: int) -> str:
        return f"devices/{index}/net/eth{index}"

    def enslave(self, index: int, state: str) -> None:
        plant(self.root, {"class/net/bond0/bonding/mode": "802.3ad", "class/net/bond0/operstate": state})
        (self.root / self.nic(index) / "master").symlink_to(self.root / "class/net/bond0")

    def vanish(self, index: int) -> None:
        shutil.rmtree(self.root / f"class/infiniband/mlx5_{index}")
        shutil.rmtree(self.root / f"devices/{index}/infiniband")


@pytest.fixture
def roce(tmp_path: Path) -> Ethernet:
    host = Ethernet(tmp_path)
    assert host.look() == []
    return host


def test_two_ports_that_become_a_bond_are_one_device_and_none_is_gone(roce: Ethernet) -> None:
    for index in (0, 1):
        roce.enslave(index, "up")
        roce.vanish(index)
    plant(roce.root, rail(8))
    plant(roce.root, {"devices/0/infiniband/mlx5_bond_0/x": ""})
    assert [roce.look() for _ in range(5)] == [[]] * 5


def test_a_port_that_a_container_was_given_exclusively_is_not_gone_and_begins_anew(roce: Ethernet) -> None:
    shutil.rmtree(roce.root / "class/infiniband/mlx5_3")
    assert [roce.look() for _ in range(5)] == [[]] * 5
    plant(roce.root, rail(3, **{"counters/link_downed": "9"}))
    assert roce.look() == []


def test_ports_that_are_away_or_off_still_say_which_are_the_fastest(roce: Ethernet) -> None:
    plant(roce.root, captured("infiniband_others"))
    for index in (0, 1):
        shutil.rmtree(roce.root / f"class/infiniband/mlx5_{index}")
    for index in (2, 3):
        plant(roce.root, {f"{roce.nic(index)}/flags": "0x1002"})
        roce.down(index)
    assert roce.look() == []
    plant(roce.root, {"class/infiniband/hfi1_0/ports/1/state": "1: DOWN"})
    roce.look()
    assert roce.look(_links.DOWN_S) == [("port:hfi1_0/1", "other-port-down", Health.WARNING)]
    shown = ports.metrics(ports.look(roce.root, roce.memory, roce.now + 5.0))
    assert series("port_active", port="mlx5_0/1") not in shown


def test_a_virtual_function_behind_a_port_of_a_virtual_machine_comes_and_goes(roce: Ethernet) -> None:
    plant(roce.root, {"class/net/eth9/device/x": "", "class/net/eth9/operstate": "up"})
    (roce.root / roce.nic(1) / "master").symlink_to(roce.root / "class/net/eth9")
    host = Host(roce.root, 0)
    assert host.look() == []
    roce.vanish(1)
    assert [host.look() for _ in range(5)] == [[]] * 5


def test_a_device_that_is_no_more_is_gone(roce: Ethernet) -> None:
    roce.vanish(3)
    assert [roce.look() for _ in range(_links.GONE_LOOKS)][-1] == [
        ("port:mlx5_3/1", "port-gone", Health.CRITICAL)
    ]


def test_a_port_that_somebody_switched_off_is_no_fault_and_one_that_lost_its_link_is(roce: Ethernet) -> None:
    for _ in range(3):
        plant(roce.root, {f"{roce.nic(1)}/flags": "0x1002"})
        roce.down(1)
        assert [roce.look(_links.DOWN_S) for _ in range(3)] == [[]] * 3
        plant(roce.root, {f"{roce.nic(1)}/flags": "0x1003"})
        roce.up(1)
        assert roce.look() == [], "to switch it on and off is no flap"
    roce.down(1)
    roce.look()
    assert roce.look(_links.DOWN_S) == [("port:mlx5_1/1", "port-down", Health.CRITICAL)]


@pytest.mark.parametrize(
    ("state", "found"),
    [("up", ("other-port-down", Health.WARNING)), ("down", ("port-down", Health.CRITICAL))],
)
def test_a_bond_that_goes_on_without_a_port_keeps_its_node(
    roce: Ethernet, state: str, found: tuple[str, Health]
) -> None:
    roce.enslave(2, state)
    roce.down(2)
    roce.look()
    assert roce.look(_links.DOWN_S) == [("port:mlx5_2/1", *found)]


def test_the_interface_of_an_infiniband_port_says_nothing_of_it(roce: Ethernet) -> None:
    for index in (1, 2):
        roce.set(index, link_layer="InfiniBand")
        roce.down(index)
    plant(roce.root, {f"{roce.nic(1)}/flags": "0x1002"})
    roce.enslave(2, "up")
    roce.look()
    assert roce.look(_links.DOWN_S) == [
        (f"port:mlx5_{index}/1", "port-down", Health.CRITICAL) for index in (1, 2)
    ]


def test_a_link_that_settles_after_boot_does_not_flap(tmp_path: Path) -> None:
    host = Host(tmp_path)
    host.now = 20.0
    for _ in range(4):
        host.up(2)
        assert host.look() == []
        host.down(2)
        assert host.look() == []
    assert host.look(_links.DOWN_S) == [("port:mlx5_2/1", "port-down", Health.CRITICAL)]


def test_a_virtual_function_comes_and_goes(host: Host) -> None:
    plant(host.root, {**rail(8), "class/infiniband/mlx5_8/device/physfn/x": ""})
    host.look()
    shutil.rmtree(host.root / "class/infiniband/mlx5_8")
    assert [host.look() for _ in range(4)] == [[]] * 4


@pytest.mark.parametrize(
    "files",
    [
        {"state": ""},
        {"state": "ACTIVE"},
        {"state": b"\xff\xfe4"},
        {"rate": "fast"},
        {"rate": ""},
        {"counters__symbol_error": "many"},
        {"counters__link_downed": ""},
        {"counters__link_downed": "1" * 5000},
    ],
    ids=str,
)
def test_what_is_cut_off_or_garbage_is_unknown_and_only_of_its_port(
    host: Host, files: Mapping[str, str | bytes]
) -> None:
    host.set(1, **files)
    assert host.look() == [("port:mlx5_1/1", "port-unreadable", Health.UNKNOWN)]


def test_a_counter_that_a_device_lacks_is_none(host: Host) -> None:
    host.set(1, counters__symbol_error="N/A (no PMA)")
    assert host.look() == []


def test_names_that_cannot_be_read_are_no_opinion(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Path) -> list[Path]:
        raise UnreadableError("class/infiniband: Permission denied")

    monkeypatch.setattr(ports, "entries", refuse)
    with pytest.raises(UnreadableError):
        host.look()


def test_the_next_prober_goes_on_where_the_last_one_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path / "sys")
    monkeypatch.setattr(ports, "SYS", host.root)
    machine = Machine("n", NoGpus(), None, kept=str(tmp_path / "kept"))
    clock = [100.0]
    monkeypatch.setattr(ports.time, "monotonic", lambda: clock[0])
    ports.measure(machine)
    shutil.rmtree(host.root / "class/infiniband/mlx5_3")
    for _ in range(_links.GONE_LOOKS):
        clock[0] += 5.0
        sample = ports.measure(machine)
    assert [each.code for each in ports.judge(sample)] == ["port-gone"]
    (tmp_path / "kept/ports.json").write_bytes(b"nonsense")
    assert list(ports.judge(ports.measure(machine))) == [], "what nobody remembers is no fault"


def test_who_looks_by_hand_is_told_of_every_port_that_is_not_active(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = Host(tmp_path)
    host.down(2)
    monkeypatch.setattr(ports, "SYS", host.root)
    (found,) = ports.judge(ports.measure(Machine("n", NoGpus(), None)))
    assert (found.component, found.code, found.health) == ("port:mlx5_2/1", "port-inactive", Health.WARNING)
    assert list(ports.judge(ports.measure(Machine("n", NoGpus(), None, kept=str(tmp_path / "kept"))))) == []


def test_rates_and_growth_are_exported(host: Host) -> None:
    host.set(0, counters__symbol_error="11")
    host.down(1)
    sample = ports.look(host.root, host.memory, host.now + 5.0)
    gauges, counts = ports.metrics(sample), ports.counts(sample)
    assert gauges[series("port_rate_bytes_per_second", port="mlx5_0/1")] == 50e9
    assert gauges[series("port_active", port="mlx5_1/1")] == 0.0
    assert counts[series("port_errors_total", port="mlx5_0/1", counter="symbol_error")] == 4
    assert counts[series("port_errors_total", port="mlx5_1/1", counter="symbol_error")] == 0
