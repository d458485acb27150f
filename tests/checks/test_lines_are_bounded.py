"""No kernel line, however long or odd, takes long to judge, fails a check or fills a journal."""

import pytest

from sentinel.checks import load
from sentinel.model.check import Machine, RankProcess
from sentinel.model.finding import Finding
from sentinel.model.kernel_line import LONGEST
from sentinel.runtime.probe import NoGpus, probe

CHECKS = [check for check in load().values() if check.in_agent]
XID = "NVRM: Xid (PCI:0000:01:00): {}, {}"


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "line",
    [
        pytest.param(XID.format(31, f"pid={'9' * 400}, name=python3, x"), id="a pid of 400 digits"),
        pytest.param(XID.format("9" * 400, "x"), id="a code of 400 digits"),
        pytest.param(XID.format(31, "pid=1," + " " * 4096), id="4 kB of spaces"),
        pytest.param(XID.format(31, "name=" + "x" * 4096), id="4 kB of a name"),
        pytest.param(XID.format(74, "link 8(" + "0x0, " * 800), id="registers without an end"),
        pytest.param(XID.format(74, f"link 8(0x{'f' * 400}{', 0x0' * 6})"), id="a register of 400 digits"),
        pytest.param(XID.format(149, "A Fatal Link " * 300), id="links without an end"),
        pytest.param(XID.format(154, "recovery action changed from " + " to " * 900), id="actions"),
        pytest.param(XID.format(13, "GPC 1, TPC " * 300), id="parts without an end"),
        pytest.param("NVRM: " + "0000:01:00 " * 300 + "fallen off the bus", id="addresses without an end"),
        pytest.param(f"Out of memory: Killed process {'1' * 400} (a) total-vm:1kB", id="a victim"),
        pytest.param(f"Out of memory: Killed process 7 ({'(' * 4096})", id="4 kB of parentheses"),
        pytest.param("oom-kill:constraint=" + ",task=a,pid=" * 300, id="summaries without an end"),
        pytest.param("INFO: task " + "a:1 " * 900, id="tasks without an end"),
        pytest.param("XFS (a): " + "I/O " * 900, id="4 kB of a file system"),
        pytest.param("mlx5_core 0000:5c:00.0: " + "x:1:(pid 1): " * 300, id="4 kB of an adapter"),
        pytest.param("\x00\udcff\N{ARABIC-INDIC DIGIT ONE}" * 900, id="no text at all"),
        pytest.param(XID.format("\u0663\u0661", "pid=\u0661, x"), id="other digits"),
    ],
)  # fmt: skip
def test_a_thousand_of_the_worst_lines_are_judged_in_seconds(line: str) -> None:
    machine = Machine(
        "n", NoGpus(), None, kernel_lines=(line,) * 1000, processes=(RankProcess(101, "python3", 0),)
    )
    for check in CHECKS:
        answer = probe(check, machine)
        assert not answer.failed
        assert all(len(str(value)) <= LONGEST for found in answer.findings for value in _values(found))


def _values(found: Finding) -> list[object]:
    return [found.summary, *found.evidence.values()]
