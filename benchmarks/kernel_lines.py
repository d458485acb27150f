"""How many lines of a kernel log one core reads and judges in a second: mixed ones, and the worst ones."""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sentinel.adapters.kernel_log import FileFollower
from sentinel.checks import load
from sentinel.model.check import Machine, RankProcess
from sentinel.runtime.probe import NoGpus, probe

CHECKS = [check for check in load().values() if check.in_agent]
BATCH = 200
"""Lines that an agent finds at a time in a storm."""
XID = "NVRM: Xid (PCI:0000:01:00): {}, pid={}, name=python3, {}"
SAID = (
    XID.format(31, "10{few}", "Ch {n:08x}, intr 00000000. MMU Fault: ENGINE GRAPHICS"),
    XID.format(13, 101, "Graphics SM Warp Exception on (GPC {few}, TPC {few}, SM 1): Out Of Range Address"),
    XID.format(74, 101, "NVLink: fatal error detected on link 8(0x{few}, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0)"),
    XID.format(149, 101, "NETIR_LINK_EVT Fatal XC0 i0 Link 09 (0x004525c6 0x00000000 0x00000000)"),
    "NVRM: Xid (PCI:0000:01:00): 154, GPU recovery action changed from 0x0 (None) to 0x{few} (Reset)",
    "Memory cgroup out of memory: Killed process {n} (python3) total-vm:32812kB, anon-rss:23588kB",
    "pcieport 0000:00:03.0: AER: Corrected error received: 0000:0{few}:00.0",
    "INFO: task python3:{n} blocked for more than 120 seconds.",
    "eth0: renamed from veth{n:x}",
    "IPv6: ADDRCONF(NETDEV_CHANGE): veth{n:x}: link becomes ready",
    'audit: type=1400 audit(1764422401.123:77): apparmor="DENIED" operation="open"',
)
FORMS = (
    "{}",
    "[ 1843.308145] {}",
    "[Sun Jan 11 09:52:01 2026] {}",
    "Nov 29 13:00:01 n1 kernel: [16450076.435595] {}",
    "2026-11-29T13:00:01.123456+00:00 n1 kernel: {}",
    "192.0.2.9: kern: warning: [2026-04-22T21:26:20.599595837Z]: {}",
    "Nov 29 13:00:01 n1 containerd[4242]: {}",
)
STORM = "[ 1843.{n:06}] " + XID.format(
    31,
    101,
    "Ch 00000008, intr 00000000. MMU Fault: ENGINE GRAPHICS GPCCLIENT_T1_8 faulted @ 0x73ac_1c{n:06x}",
)
"""One error again and again, as one program with a bad address makes it: only times and addresses differ."""
WORST = {
    "4 kB of one letter": "[1.0] NVRM: " + "x" * 4096,
    "4 kB of spaces": "[1.0] NVRM: Xid (PCI:0000:01:00): 31, pid=1," + " " * 4096,
    "a pid of 400 digits": XID.format(31, "9" * 400, "x"),
    "an OOM kill with 4 kB of a name": f"[1.0] Out of memory: Killed process 7 ({'(' * 4096})",
    "an OOM summary without an end": "[1.0] oom-kill:constraint=" + ",task=a,pid=" * 340,
    "an NVLink 5 line without an end": XID.format(149, 101, "A Fatal Link " * 340),
    "registers without an end": XID.format(74, 101, "link 8(" + "0x0, " * 800),
}


def mixed(count: int) -> list[str]:
    chance = random.Random(7)
    said = (chance.choice(SAID).format(n=number, few=number % 8) for number in range(count))
    return [chance.choice(FORMS).format(each) for each in said]


def judge(lines: Sequence[str]) -> None:
    """Run every check that reads kernel lines, as an agent does."""
    processes = tuple(RankProcess(101 + rank, "python3", rank) for rank in range(8))
    machine = Machine(
        "n", NoGpus(), None, kernel_lines=tuple(lines), pci={"0000:01:00": 0}, processes=processes
    )
    for check in CHECKS:
        probe(check, machine)


def per_second(lines: Sequence[str]) -> float:
    """Lines a second from the file to the findings."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory, "kern.log")
        log.touch()
        follower = FileFollower(log)
        log.write_text("".join(f"{line}\n" for line in lines))
        begun = time.process_time()
        while found := follower.read():
            for start in range(0, len(found), BATCH):
                judge(found[start : start + BATCH])
        return len(lines) / (time.process_time() - begun)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=50_000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    judge(mixed(BATCH))  # tables are read once
    rates = {"mixed": per_second(mixed(options.lines))}
    rates["one error again and again"] = per_second([STORM.format(n=n) for n in range(options.lines)])
    rates |= {name: per_second([line] * (options.lines // 10)) for name, line in WORST.items()}
    if options.json:
        print(json.dumps({"lines_per_second": rates}))
        return
    print(f"{'lines':<34}{'a second':>10}")
    for name, rate in rates.items():
        print(f"{name:<34}{rate:>10,.0f}")


if __name__ == "__main__":
    main()
