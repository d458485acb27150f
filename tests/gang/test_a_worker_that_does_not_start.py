"""What keeps a worker from becoming warm is told to its node's agent, before the process ends by it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sentinel.model.codec import from_plain
from sentinel.model.outside import Whose, whose
from sentinel.model.report import AT_START, RaisedSeen

pytest.importorskip("torch")

WORKER = """
import sys
from pathlib import Path
from sentinel.gang.orders import WorkerSpec
from sentinel.gang.rank import RankRunner
for number, trainable in enumerate(sys.argv[2:]):
    spec = WorkerSpec("moe", trainable, "", "gloo", sys.argv[1], 1, 0, 60.0, 60.0, b"key", "ours")
    try:
        RankRunner(spec, f"w{number}", Path(sys.argv[1]), 3)
    except Exception as error:
        print(type(error).__name__)
"""
TRAINABLES = """
import errno, os
class Constructed:
    def __init__(self, lr): pass
class Missing:
    def warm(self, gpu): open("/none/data")
class Full:
    def warm(self, gpu):
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/mnt/cache")
        except OSError as error:
            raise RuntimeError("no cache") from error
"""


def test_its_own_exception_is_told_with_whose_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(TRAINABLES)
    names = ["none.such:Trainer", "mine:NoSuch", "mine:Constructed", "mine:Missing", "mine:Full"]
    argv = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{WORKER}",
        str(tmp_path),
    ]
    ended = subprocess.run([*argv, *names], capture_output=True, text=True, timeout=100, check=True)
    raised = ["ModuleNotFoundError", "AttributeError", "TypeError", "FileNotFoundError", "RuntimeError"]
    assert ended.stdout.split() == raised, "who starts it hears of it, too"
    notes = [json.loads((tmp_path / "errors" / f"w{n}-start.json").read_text()) for n in range(len(names))]
    told = [from_plain(RaisedSeen, note) for note in notes]
    assert [each.error.partition(":")[0] for each in told] == raised
    assert [whose(each.error) for each in told] == [Whose.CODE] * 3 + [Whose.SETTING, Whose.STORAGE]
    for number, each in enumerate(told):
        assert (each.kind, each.worker, each.rank, each.gpu) == (AT_START, f"w{number}", -1, 3)
        assert each.traceback.startswith("Traceback")
