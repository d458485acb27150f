"""Nothing that anybody may say or leave lying ends a process; the command counts what would."""

import subprocess
import sys
from pathlib import Path

import pytest
from depth import tries

from tests.fuzz.feed import feed
from tests.fuzz.run import run
from tests.fuzz.targets import TARGETS

INPUTS = tries(150, 3000)
"""The command feeds 100,000."""
SLOW = {"journal-files": 3, "journal-rows": 3, "http-requests": 2}
"""So many times fewer: a journal waits for the disk."""


@pytest.mark.soak
@pytest.mark.parametrize("target", list(TARGETS))
def test_damaged_and_absurd_inputs_are_refused_or_taken(tmp_path: Path, target: str) -> None:
    inputs = INPUTS // SLOW.get(target, 1)
    count = feed(f"tests.fuzz.targets.{TARGETS[target]}", "suite", tmp_path, inputs, lambda _: None)
    assert count.next == inputs
    assert count.refused
    assert count.accepted


FRAGILE = """
import contextlib, os, time

def seeds():
    return [b"fine"] * 3 + [b"raises", b"kills", b"hangs"] + [b"fine"] * 4

@contextlib.contextmanager
def opened(folder):
    def take(data):
        if data == b"raises":
            raise KeyError("an input")
        if data == b"kills":
            os.abort()
        while data == b"hangs":
            time.sleep(0.01)
        return True
    yield take
"""


def test_whatever_ends_a_process_is_counted_named_and_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    monkeypatch.setenv("PYTHONPATH", f"{Path.cwd()}:{tmp_path}")
    outcome = run("fragile", "fragile", 10, "1", deadline_s=0.5)
    assert (outcome.count.next, outcome.count.accepted) == (10, 7)
    raised, killed, hung = outcome.ends
    assert "input 3" in raised
    assert "KeyError: 'an input'" in raised
    assert "input 4 (exit -6)" in killed
    assert "input 5" in hung
    assert "no end" in hung


def test_the_command_prints_a_table() -> None:
    argv = [sys.executable, "-m", "tests.fuzz", "--inputs", "20", "snapshot-slots"]
    output = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False).stdout.splitlines()
    assert output[0].split() == ["target", "inputs", "refused", "accepted", "longest", "ended"]
    assert output[1].split()[:2] == ["snapshot-slots", "20"]
