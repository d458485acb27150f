import shutil
from pathlib import Path

import pytest
from files import captured, plant

from sentinel.checks import _links, ethernet
from sentinel.model.check import series
from sentinel.model.finding import Health


class Host:
    """A host with ports at 25 Gb/s, whose files a test changes between looks."""

    def __init__(self, root: Path, nics: int = 3) -> None:
        self.root, self.memory, self.now = root, ethernet.Memory(), 1000.0
        for index in range(nics):
            self.add(f"eth{index}")

    def add(self, name: str, **changed: str) -> None:
        device = self.root / f"devices/{name}"
        device.mkdir(parents=True)
        folder = self.root / f"class/net/{name}"
        folder.mkdir(parents=True)
        (folder / "device").symlink_to(device)
        values = {"type": "1", "carrier": "1", "carrier_down_count": "4", "speed": "25000", "duplex": "full"}
        values |= {"mtu": "9000", "operstate": "up", **changed}
        zeros = {f"statistics/{counter}": "7" for counter in ethernet.LIMITS}
        plant(folder, values | zeros)

    def set(self, name: str, **files: str | bytes) -> None:
        plant(
            self.root / f"class/net/{name}", {key.replace("__", "/"): value for key, value in files.items()}
        )

    def look(self, seconds: float = 5.0) -> list[tuple[str, str]]:
        self.now += seconds
        sample = ethernet.EthernetSample(ethernet.look(self.root, self.memory, self.now))
        found = list(ethernet.judge(sample))
        assert Health.CRITICAL not in {each.health for each in found}, "no Ethernet port takes a node away"
        return [(each.component, each.code) for each in found]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    assert host.look() == []
    return host


@pytest.mark.parametrize("kind", ["772", "32"], ids=["loopback", "IPoIB"])
def test_what_is_no_ethernet_port_with_a_device_is_skipped(tmp_path: Path, kind: str) -> None:
    host = Host(tmp_path, nics=0)
    host.add("ib0", type=kind)
    plant(tmp_path, {"class/net/veth0/type": "1", "class/net/veth0/carrier": "0"})
    assert host.look() == [("ethernet", "not-applicable")]


def test_the_port_of_the_management_controller_is_left_out(host: Host) -> None:
    host.add("usb0")
    (host.root / "bus/usb").mkdir(parents=True)
    (host.root / "devices/usb0/subsystem").symlink_to(host.root / "bus/usb")
    host.look()
    host.set("usb0", carrier="0")
    assert [host.look(60.0) for _ in range(2)] == [[], []]


def test_a_port_that_stays_down_is_told_and_one_that_heals_is_not(host: Host) -> None:
    host.set("eth1", carrier="0", operstate="down")
    assert host.look() == []
    host.set("eth1", carrier="1", operstate="up")
    assert host.look() == []
    host.now += _links.FLAP_WINDOW_S
    host.set("eth1", carrier="0", operstate="down")
    host.look()
    assert host.look(_links.DOWN_S) == [("nic:eth1", "nic-down")]


def test_a_port_that_somebody_switched_off_is_no_fault_and_begins_anew(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> int | None:  # the kernel has no carrier to tell of: EINVAL
        return None if path.match("eth1/carrier") else number(path)

    number = ethernet.number
    for _ in range(3):
        with monkeypatch.context() as off:
            off.setattr(ethernet, "number", refuse)
            assert [host.look(_links.DOWN_S) for _ in range(3)] == [[]] * 3
        assert host.look() == []
    host.set("eth1", carrier="0")
    host.look()
    assert host.look(_links.DOWN_S) == [("nic:eth1", "nic-down")]


def test_a_port_without_a_cable_from_the_start_is_no_fault(host: Host) -> None:
    host.add("eth9", carrier="0", operstate="down", speed="-1")
    assert host.look() == []
    assert host.look(3600.0) == []


def test_a_virtual_machines_port_has_no_speed(host: Host) -> None:
    host.add("eth9", speed="-1", duplex="unknown")
    assert host.look() == []
    assert host.look() == []


@pytest.mark.parametrize(("downs", "flaps"), [("5", False), ("6", True)])
def test_drops_between_two_looks_are_counted_by_the_port(host: Host, downs: str, flaps: bool) -> None:
    host.set("eth0", carrier_down_count=downs)
    assert host.look() == [("nic:eth0", "nic-flapping")] * flaps


def test_a_port_slower_than_before_is_told(host: Host) -> None:
    host.set("eth0", speed="1000")
    assert host.look() == [("nic:eth0", "nic-slow")]


def test_half_duplex_is_told(host: Host) -> None:
    host.set("eth0", duplex="half")
    assert host.look() == [("nic:eth0", "nic-half-duplex")]


@pytest.mark.parametrize("counter", ethernet.LIMITS)
def test_each_counter_has_its_limit(host: Host, counter: str) -> None:
    most = ethernet.LIMITS[counter]
    host.set("eth2", **{f"statistics__{counter}": str(7 + most)})
    assert host.look() == []
    host.set("eth2", **{f"statistics__{counter}": str(8 + most)})
    assert host.look() == [("nic:eth2", "nic-errors")]
    assert host.look(ethernet.WINDOW_S + 10.0) == []
    host.set("eth2", **{f"statistics__{counter}": "0"})
    assert host.look() == [], "a driver that was loaded again counts anew"


def test_an_mtu_that_differs_from_its_likes_is_told_and_another_speeds_is_not(host: Host) -> None:
    host.add("mgmt0", speed="1000", mtu="1500")
    assert host.look() == []
    host.set("eth2", mtu="1500")
    assert host.look() == [("nic:eth2", "mtu-differs")]
    host.set("eth1", mtu="1500")
    assert host.look() == [("nic:eth0", "mtu-differs")]


def test_an_mtu_that_a_port_has_always_had_is_its_own(host: Host) -> None:
    host.add("storage0", mtu="1500")
    assert [host.look(), host.look()] == [[], []]
    host.set("storage0", mtu="9000")
    assert host.look() == []
    host.set("storage0", mtu="1500")
    assert host.look() == [("nic:storage0", "mtu-differs")]
    sample = ethernet.EthernetSample(ethernet.look(host.root, host.memory, host.now))
    assert ethernet.metrics(sample)[series("nic_mtu_bytes", nic="storage0")] == 1500.0


def test_ports_that_get_their_mtu_one_after_the_other_have_it_in_the_end(tmp_path: Path) -> None:
    host = Host(tmp_path, nics=0)
    for index in range(4):
        host.add(f"eth{index}", mtu="1500")
    host.look()
    for index in range(4):
        host.set(f"eth{index}", mtu="9000")
        found = host.look()
    assert found == []


def test_of_two_ports_none_is_the_odd_one(tmp_path: Path) -> None:
    host = Host(tmp_path, nics=2)
    host.set("eth0", mtu="1500")
    assert host.look() == []


def test_a_port_is_gone_with_its_device_and_not_when_a_container_was_given_it(host: Host) -> None:
    shutil.rmtree(host.root / "class/net/eth0")
    assert [host.look() for _ in range(5)] == [[]] * 5
    shutil.rmtree(host.root / "devices/eth0")
    assert [host.look() for _ in range(_links.GONE_LOOKS)][-1] == [("nic:eth0", "nic-gone")]


def test_a_virtual_function_behind_a_port_of_a_virtual_machine_comes_and_goes(host: Host) -> None:
    host.add("vf0")
    (host.root / "class/net/vf0/master").symlink_to(host.root / "class/net/eth0")
    host.look()
    shutil.rmtree(host.root / "class/net/vf0")
    shutil.rmtree(host.root / "devices/vf0")
    assert [host.look() for _ in range(5)] == [[]] * 5


def test_a_port_of_rdma_is_judged_as_such(host: Host) -> None:
    (host.root / "devices/eth0/infiniband").mkdir()
    host.set("eth0", carrier="0")
    host.look()
    assert host.look(_links.DOWN_S) == []


@pytest.mark.parametrize("files", [{"carrier": "yes"}, {"speed": b"\xff"}, {"mtu": ""}], ids=str)
def test_garbage_is_unknown(host: Host, files: dict[str, str | bytes]) -> None:
    host.set("eth0", **files)
    assert host.look() == [("nic:eth0", "nic-unreadable")]


@pytest.mark.parametrize(
    ("name", "up", "down"),
    [("bond_lacp", ("enp1s0f1",), ("enp1s0f0",)), ("bond_three", ("eth1", "eth0"), ())],
)
def test_a_bond_says_which_of_its_ports_it_uses(
    tmp_path: Path, name: str, up: tuple[str, ...], down: tuple[str, ...]
) -> None:
    (bond,) = ethernet.bonds(plant(tmp_path, captured(name)))
    assert (bond.name, bond.up, bond.down) == ("bond0", up, down)
    sample = ethernet.EthernetSample((ethernet.NicSample("eth0"),), (bond,))
    assert [each.code for each in ethernet.judge(sample)] == ["bond-degraded"] * bool(down)


def test_growth_is_exported(host: Host) -> None:
    host.set("eth0", statistics__rx_crc_errors="9", carrier="0")
    sample = ethernet.EthernetSample(ethernet.look(host.root, host.memory, host.now + 5.0))
    assert ethernet.counts(sample)[series("nic_errors_total", nic="eth0", counter="rx_crc_errors")] == 2
    assert ethernet.metrics(sample)[series("nic_carrier", nic="eth0")] == 0.0
