"""What a prober or a rank leaves that can't be read ends no agent, and is said in one line."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from sentinel.model.check import series
from sentinel.model.codec import to_plain
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import WorkerId
from sentinel.model.report import FindingSeen
from sentinel.runtime.agent.findings import FindingBook
from sentinel.runtime.agent.notes import Notes
from sentinel.runtime.agent.prober import Prober
from sentinel.runtime.agent.settings import parse
from sentinel.runtime.agent.spool import Spool
from sentinel.runtime.probe import Answer

GARBAGE = [
    b"what a driver prints",
    b"[" * 100_000,
    b"\xff\xfe\x00",
    b'{"is": "Answer", "check": 7}',
    b'{"is": "Answered"}',
    b"null",
    b'{"check": "gpu", "gauges": {}}',
    random.Random(5).randbytes(200).replace(b"\n", b"x"),
]


def prober(tmp_path: Path, *lines: bytes) -> Prober:
    """A prober that says these lines."""
    asked = Prober(parse(["--controller", "tcp://127.0.0.1:1", "--keys", str(tmp_path), "--node", "n1"]))
    (tmp_path / "said").write_bytes(b"".join(line + b"\n" for line in lines))
    program = "import os, sys; os.write(1, open(sys.argv[1], 'rb').read()); input()"
    argv = [sys.executable, "-c", program, str(tmp_path / "said")]
    asked._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return asked


def heard(asked: Prober) -> object:
    deadline = time.monotonic() + 10
    while not (answers := asked.answers()) and answers is not None:
        assert time.monotonic() < deadline
    return answers


@pytest.mark.parametrize("line", GARBAGE, ids=lambda line: repr(line[:20]))
def test_a_prober_that_talks_nonsense_counts_as_gone(
    tmp_path: Path, line: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = prober(tmp_path, line)
    assert heard(asked) is None
    asked.close()
    [said] = capsys.readouterr().out.splitlines()
    assert "prober-answer-refused" in said
    assert len(said) < 500


def test_an_answer_is_read(tmp_path: Path) -> None:
    answer = Answer("gpu", False, (), ((series("x", gpu=1), 1.0),), ((series("y_total"), 2),))
    asked = prober(tmp_path, json.dumps({**to_plain(answer), "of a later release": [1]}).encode())
    assert heard(asked) == [answer]
    asked.close()


class Nobody:
    """A node without a rank."""

    def is_known(self, worker: WorkerId, pid: int) -> bool:
        return False


def test_notes_that_can_t_be_read_keep_none_from_being_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spool = Spool()
    for number, line in enumerate(GARBAGE):
        (tmp_path / f"{number}.json").write_bytes(line)
    full = Finding("trainer", "disk-full", "checkpoints", Health.WARNING, "\udcff")
    (tmp_path / "good.json").write_text(json.dumps(to_plain(FindingSeen(full))))
    Notes(tmp_path, spool, Nobody()).collect()
    assert [event for _, event in spool.pending()] == [FindingSeen(replace(full, summary="\\udcff"))]
    assert capsys.readouterr().out.count("rank-note-refused") == len(GARBAGE)


@pytest.mark.parametrize("content", GARBAGE, ids=lambda line: repr(line[:20]))
def test_a_damaged_book_of_findings_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "book.json").write_bytes(content)
    assert FindingBook(tmp_path / "book.json").standing() == ()
