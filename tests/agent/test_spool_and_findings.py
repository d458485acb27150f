import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from sentinel.demo.network import available
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import JobId, WorkerId
from sentinel.model.report import ExitSeen, ProbedSeen
from sentinel.runtime.agent.findings import FindingBook
from sentinel.runtime.agent.spool import Spool

HOT = Finding("gpu", "temperature", "gpu-0", Health.WARNING, "hot", {"temperature_c": 91})
NOW = 5.0


def test_events_are_kept_until_acknowledged_and_their_sources_released() -> None:
    spool, released = Spool(), []
    for number in (1, 2, 3):
        spool.add(ProbedSeen((), str(number)), lambda number=number: released.append(number))
    spool.acknowledge(2)
    assert [number for number, _ in spool.pending()] == [3]
    assert released == [1, 2]
    spool.acknowledge(2)
    assert len(spool) == 1


def test_an_end_that_nobody_heard_of_grows_older(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    spool, ended = Spool(), ExitSeen(JobId("j"), 3, WorkerId("w3"), 77, 1, 0, "signal 9")
    spool.add(ended)
    spool.add(replace(ended, age_s=5.0))
    assert [event for _, event in spool.pending()] == [ended, replace(ended, age_s=5.0)]
    now += 45.6
    ages = [event.age_s for _, event in spool.pending() if isinstance(event, ExitSeen)]
    assert ages == [45.6, 50.6]


def test_a_report_carries_the_oldest_events_first() -> None:
    spool = Spool()
    for number in range(1000):
        spool.add(ProbedSeen((), str(number)))
    numbers = [number for number, _ in spool.pending()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) < 1000


def test_only_changes_are_told(tmp_path: Path) -> None:
    book = FindingBook(tmp_path / "findings.json")
    assert book.update("gpu", [HOT], NOW) == [HOT]
    assert book.update("gpu", [replace(HOT, evidence={"temperature_c": 92})], NOW) == []
    assert book.update("host", [], NOW) == []
    worse = replace(HOT, health=Health.CRITICAL)
    assert book.update("gpu", [worse], NOW) == [worse]
    (cleared,) = book.update("gpu", [], NOW)
    assert (cleared.key, cleared.health) == (HOT.key, Health.OK)
    assert book.update("gpu", [], NOW) == []


def test_the_next_agent_clears_what_has_passed(tmp_path: Path) -> None:
    path = tmp_path / "findings.json"
    FindingBook(path).update("gpu", [HOT], NOW)
    (cleared,) = FindingBook(path).update("gpu", [], NOW)
    assert cleared.health is Health.OK
    path.write_text("{torn")
    assert FindingBook(path).update("gpu", [HOT], NOW) == [HOT]


def test_another_journal_hears_all_that_stands_and_the_same_one_nothing(tmp_path: Path) -> None:
    book = FindingBook(tmp_path / "findings.json")
    assert book.meet("first") == []
    cold = replace(HOT, code="cold")
    book.update("gpu", [HOT, cold], NOW)
    book.update("gpu", [HOT], NOW)
    book.settle()
    assert book.meet("first") == []
    assert book.meet("") == []  # a controller of an older release does not say
    assert book.meet("second") == [HOT]
    assert book.meet("second") == []


def test_the_next_agent_knows_which_journal_heard_of_it(tmp_path: Path) -> None:
    path = tmp_path / "findings.json"
    book = FindingBook(path)
    book.meet("first")
    book.update("gpu", [HOT], NOW)
    book.settle()
    assert FindingBook(path).meet("first") == []
    assert FindingBook(path).meet("second") == [HOT]
    assert FindingBook(path).update("gpu", [HOT], NOW) == [HOT]  # told, and maybe not heard


def test_the_first_journal_hears_nothing_twice(tmp_path: Path) -> None:
    book = FindingBook(tmp_path / "findings.json")
    book.update("gpu", [HOT], NOW)
    assert book.meet("first") == []


HOTTER = replace(HOT, health=Health.CRITICAL)


@pytest.mark.parametrize(
    ("reported", "found", "again"),
    [
        pytest.param([[HOT]], [HOT], [HOT], id="it stands"),
        pytest.param([[HOT]], [], [Health.OK], id="it has passed, and the controller may have heard of it"),
        pytest.param([[HOT], []], [], [Health.OK], id="it had passed"),
        pytest.param([[HOT], []], [HOT], [HOT], id="it came back"),
        pytest.param([[HOT], [HOTTER]], [HOTTER], [HOTTER], id="it had become worse"),
        pytest.param([[]], [], [], id="nothing was told"),
    ],
)
@pytest.mark.parametrize("agents", [1, 2])
def test_what_the_controller_may_not_have_heard_is_told_again_by_the_next_agent_as_it_finds_it(
    tmp_path: Path,
    reported: list[list[Finding]],
    found: list[Finding],
    again: list[Finding | Health],
    agents: int,
) -> None:
    book = FindingBook(tmp_path / "findings.json")
    for each in reported:
        book.update("gpu", each, NOW)
    for _ in range(agents):
        book = FindingBook(tmp_path / "findings.json")
        news = book.update("gpu", found, NOW)
        assert [each.health if each.health is Health.OK else each for each in news] == again
        assert book.update("gpu", found, NOW) == []


def test_what_the_controller_has_heard_is_not_told_again(tmp_path: Path) -> None:
    book = FindingBook(tmp_path / "findings.json")
    book.update("gpu", [HOT], NOW)
    book.settle()
    book.update("host", [replace(HOT, check="host")], NOW)
    assert FindingBook(tmp_path / "findings.json").update("gpu", [HOT], NOW) == []


def test_a_probe_that_sees_nothing_tells_nothing_again_until_it_sees(tmp_path: Path) -> None:
    FindingBook(tmp_path / "findings.json").update("gpu", [HOT], NOW)
    book = FindingBook(tmp_path / "findings.json")
    blind = Finding("gpu", "probe-failed", "gpu", Health.UNKNOWN, "no driver")
    assert book.update("gpu", [blind], NOW, blind=True) == [blind]
    book.settle()
    assert book.update("gpu", [blind, HOT], NOW) == [HOT]


@pytest.mark.root
@pytest.mark.skipif(bool(available()), reason="mounting a small volume needs root")
def test_a_full_memory_directory_refuses_a_lease_instead_of_ending_who_renews_it(tmp_path: Path) -> None:
    """A page that was never written can't be had on a full tmpfs: the first store would be a SIGBUS."""
    options = "size=64k,mode=700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "sentinel-test", str(tmp_path)], check=True)
    try:
        (tmp_path / "filler").write_bytes(bytes(64 << 10))
        program = "import sys, pathlib; from sentinel.runtime.agent.lease import Lease\n"
        program += (
            "try: Lease(pathlib.Path(sys.argv[1])).renew()\nexcept OSError as error: print(error.strerror)"
        )
        argv = [sys.executable, "-c", program, str(tmp_path / "lease")]
        tried = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert (tried.returncode, tried.stdout) == (0, "No space left on device\n")
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)
