"""What the kernel says of a GPU is told before what is read from that GPU a moment later."""

from dataclasses import replace
from multiprocessing import connection

import pytest
from agent_node import GPU, Node

from sentinel.adapters.kernel_log import FileFollower
from sentinel.checks import load
from sentinel.model.report import Event, FindingSeen
from sentinel.runtime.agent import settings
from sentinel.runtime.agent.findings import FindingBook
from sentinel.runtime.agent.probes import Probes

CONTAINED = "[9.0] NVRM: Xid (PCI:0000:01:00): 94, pid=7, name=python3, Contained: SM (0x1). RST: No\n"
OTHERS = "[8.0] eth0: renamed from veth1\n"


def codes(events: list[Event]) -> list[str]:
    return [event.finding.code for event in events if isinstance(event, FindingSeen)]


@pytest.mark.parametrize("lines", [1, 2000], ids=["alone", "at the end of a long log"])
def test_a_contained_error_is_told_before_the_counter_that_it_raised(node: Node, lines: int) -> None:
    given = settings.parse(["--controller", "tcp://127.0.0.1:1", "--keys", str(node.root), "--node", "n"])
    given = replace(given, gpus=f"simulated:{node.devices}", memory=node.memory)
    checks = {name: load()[name] for name in ("gpu", "xid")}
    log = FileFollower(node.kernel_log)
    probes = Probes(given, checks, FindingBook(node.root / "findings.json"), log)
    try:
        node.describe({**GPU, "ecc_uncorrectable": 1})
        reported = codes(probes.run_due(0.0, tuple))
        while probes.prober.busy:
            connection.wait([probes.prober.output], 15.0)
            if probes.prober.busy == "gpu":
                with node.kernel_log.open("a") as file:
                    file.write(OTHERS * (lines - 1) + CONTAINED)
            reported += codes(probes.take_answers(0.0, tuple))
    finally:
        probes.close()
    seen = [code for code in reported if code in ("xid-94", "ecc-uncorrectable")]
    assert seen == ["xid-94", "ecc-uncorrectable"]
