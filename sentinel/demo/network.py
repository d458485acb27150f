"""A small network of namespaces on one machine, whose links and ports can be cut for real (needs root)."""

import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

SINK = "sink"
SINK_TABLE = "66"


class NetworkError(RuntimeError):
    """The kernel or `ip` refused; the message is the command and its complaint."""


def available() -> str:
    """Say why namespaces cannot be made here; empty when they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    name = f"sentinel-try-{os.getpid()}"
    try:
        _ip("netns", "add", name)
        _ip("netns", "delete", name)
    except (NetworkError, OSError) as error:
        return f"no network namespaces here: {error}"
    return ""


class Network:
    """One bridge and a namespace per node. The calling process stays outside, at the bridge's address."""

    def __init__(self, run: str) -> None:
        self.run = run
        self._bridge = f"sn{run}"
        self._nodes: dict[str, int] = {}
        self._subnet = _claim_subnet(self._bridge)

    def netns(self, node: str) -> str:
        """Name of the node's namespace, as in `ip netns list`."""
        return f"sentinel-{self.run}-{node}"

    def address(self, node: str) -> str:
        """The node's IPv4 address."""
        return f"{self._subnet}.{self._nodes[node]}"

    def add(self, node: str) -> None:
        """Make the node's namespace and plug it into the bridge."""
        self._nodes[node] = len(self._nodes) + 1
        netns, link = self.netns(node), self._link(node)
        _ip("netns", "add", netns)
        _ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", netns)
        _ip("link", "set", link, "master", self._bridge, "up")
        _ip("-n", netns, "link", "set", "lo", "up")
        _ip("-n", netns, "address", "add", f"{self.address(node)}/24", "dev", "eth0")
        _ip("-n", netns, "link", "set", "eth0", "up")
        self._add_sink(node)

    def cut(self, node: str) -> None:
        """Take the node's link down at the bridge: a partition, no connection is told about it."""
        _ip("link", "set", self._link(node), "down")

    def heal(self, node: str) -> None:
        """Bring the link of a cut node up again."""
        _ip("link", "set", self._link(node), "up")

    def block(self, node: str, port: int, server: str = "head") -> None:
        """Drop all TCP between `node` and `port` of node `server`, in both directions; nothing else."""
        for netns, rule in self._rules(node, port, server):
            _ip("-n", netns, "rule", "add", *rule, "lookup", SINK_TABLE)

    def unblock(self, node: str, port: int, server: str = "head") -> None:
        """Take `block` back."""
        for netns, rule in self._rules(node, port, server):
            _ip("-n", netns, "rule", "delete", *rule, "lookup", SINK_TABLE)

    def slow(self, node: str, megabits: float, queue_ms: float = 1000.0) -> None:
        """Limit what reaches the node to `megabits` per second; 0 takes the limit away.

        What more is sent waits in a queue of so many milliseconds, and is lost when that is full.
        """
        link = self._link(node)
        _command("tc", "qdisc", "delete", "dev", link, "root", check=False)
        if megabits:
            limit = ("rate", f"{megabits}mbit", "burst", "64k", "latency", f"{queue_ms}ms")
            _command("tc", "qdisc", "add", "dev", link, "root", "tbf", *limit)

    def slow_between(
        self, ones: Sequence[str], others: Sequence[str], megabits: float, queue_ms: float = 1000.0
    ) -> None:
        """Limit what nodes get from those of the other side, and nothing else, as `slow` does; 0 ends it."""
        for node, senders in (*((one, others) for one in ones), *((other, ones) for other in others)):
            link = self._link(node)
            _command("tc", "qdisc", "delete", "dev", link, "root", check=False)
            if megabits:
                queue = ("bfifo", "limit", str(round(megabits * queue_ms * 125)))  # in bytes
                limit = ("parent", "1:", "classid", "1:1", "htb", "rate", f"{megabits}mbit")
                _command("tc", "qdisc", "add", "dev", link, "root", "handle", "1:", "htb")
                _command("tc", "class", "add", "dev", link, *limit)
                _command("tc", "qdisc", "add", "dev", link, "parent", "1:1", *queue)
                for sender in senders:
                    from_it = ("u32", "match", "ip", "src", self.address(sender), "flowid", "1:1")
                    _command("tc", "filter", "add", "dev", link, "parent", "1:", "protocol", "ip", *from_it)

    def remove(self) -> None:
        """Remove namespaces and bridge; what is already gone is skipped."""
        for node in self._nodes:
            # The link first: a namespace whose last process is still dying would keep it for a moment.
            _ip("link", "delete", self._link(node), check=False)
            _ip("netns", "delete", self.netns(node), check=False)
        _ip("link", "delete", self._bridge, check=False)

    def _link(self, node: str) -> str:
        return f"{self._bridge}-{self._nodes[node]}"

    def _add_sink(self, node: str) -> None:
        """Give the namespace a link to nowhere: unlike a blackhole rule, it lets senders see no error."""
        netns = self.netns(node)
        _ip("-n", netns, "link", "add", SINK, "type", "veth", "peer", "name", f"{SINK}-end")
        _ip("-n", netns, "link", "set", SINK, "arp", "off", "up")
        source = self.address(node)
        _ip("-n", netns, "route", "add", "default", "dev", SINK, "src", source, "table", SINK_TABLE)

    def _rules(self, node: str, port: int, server: str) -> list[tuple[str, tuple[str, ...]]]:
        there = ("to", self.address(server), "ipproto", "tcp", "dport", str(port))
        back = ("to", self.address(node), "ipproto", "tcp", "sport", str(port))
        return [(self.netns(node), there), (self.netns(server), back)]


def remove_left(run: str) -> None:
    """Remove namespaces and links of a network whose maker is gone."""
    for path in Path("/run/netns").glob(f"sentinel-{run}-*"):
        _ip("netns", "delete", path.name, check=False)
    if shutil.which("ip") is None:
        return
    for interface in json.loads(_ip("-j", "link", "show") or "[]"):
        if interface.get("ifname", "").startswith(f"sn{run}"):
            _ip("link", "delete", interface["ifname"], check=False)


def _claim_subnet(bridge: str) -> str:
    """Make the bridge on a /24 of 10.77.0.0/16 that no other interface uses; its first three numbers."""
    _ip("link", "add", bridge, "type", "bridge")
    _ip("link", "set", bridge, "up")
    start = os.getpid() % 250
    for offset in itertools.islice(itertools.count(start), 250):
        subnet = f"10.77.{offset % 250}"
        if not _in_use(subnet, bridge):
            _ip("address", "add", f"{subnet}.254/24", "dev", bridge)
            return subnet
    _ip("link", "delete", bridge)
    raise NetworkError("no free /24 in 10.77.0.0/16")


def _in_use(subnet: str, bridge: str) -> bool:
    interfaces = json.loads(_ip("-j", "address", "show") or "[]")
    return any(
        address["local"].startswith(f"{subnet}.")
        for interface in interfaces
        if interface.get("ifname") != bridge
        for address in interface.get("addr_info", ())
        if "local" in address
    )


def _ip(*args: str, check: bool = True) -> str:
    return _command("ip", *args, check=check)


def _command(*argv: str, check: bool = True) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if check and done.returncode != 0:
        raise NetworkError(f"{' '.join(argv)}: {done.stderr.strip()}")
    return done.stdout


def netns_file(netns: str) -> Path:
    """The file that a process opens to enter a namespace."""
    return Path("/run/netns") / netns
