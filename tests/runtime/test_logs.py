"""A log line costs nobody anything, and says who wrote it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sentinel

SAYS = """
import structlog
from sentinel import logs
logs.to_stdout()
log = structlog.get_logger(logger_name="inbox")
{before}
log.info("agent", node="n1")
try:
    secret = "xoxb-1"
    raise KeyError("n9")
except KeyError:
    log.exception("defect")
log.warning("odd", text="\\ud800")
sys.stderr.write("went on")
"""


def said(before: str = "") -> subprocess.CompletedProcess[str]:
    program = "import os, sys" + SAYS.format(before=before)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_a_line_names_its_logger_and_a_traceback_tells_no_variables() -> None:
    out = said().stdout
    assert "[inbox]" in out
    assert "KeyError: 'n9'" in out
    assert "xoxb-1" not in out.replace('secret = "xoxb-1"', "")
    assert "ud800" in out


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("sys.stdout.close()", id="closed"),
        pytest.param("os.close(1)", id="its descriptor is closed"),
        pytest.param("sys.stdout = None", id="there is none"),
        pytest.param("os.dup2(os.open('/dev/full', os.O_WRONLY), 1)", id="on a full disk"),
    ],
)
def test_a_standard_output_that_takes_nothing_ends_nobody(before: str) -> None:
    assert said(before).stderr.startswith("went on")


def test_every_logger_is_named_in_a_way_that_is_printed() -> None:
    folder = Path(sentinel.__file__).parent
    calls = [
        (file.name, node)
        for file in folder.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("get_logger")
    ]
    assert calls
    assert [(name, ast.unparse(call)) for name, call in calls if call.args or not call.keywords] == []
