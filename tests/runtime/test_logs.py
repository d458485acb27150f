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
logs.to_{stream}()
log = structlog.get_logger(logger_name="inbox")
{before}
log.info("agent", node="n1")
try:
    secret = "xoxb-1"
    raise KeyError("n9")
except KeyError:
    log.exception("defect")
log.warning("odd", text="\\ud800")
log.info("long", text="two\\nlines")
{other}.write("went on")
"""


def said(stream: str, before: str = "") -> tuple[str, str]:
    """What a process says in its log, and on the other stream."""
    other = {"stdout": "stderr", "stderr": "stdout"}[stream]
    program = "import os, sys" + SAYS.format(before=before, stream=stream, other=f"sys.{other}")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    return getattr(done, stream), getattr(done, other)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_line_names_its_logger_and_a_traceback_tells_no_variables(stream: str) -> None:
    out, _ = said(stream)
    assert "[inbox]" in out
    assert "KeyError: 'n9'" in out
    assert "xoxb-1" not in out.replace('secret = "xoxb-1"', "")
    assert "ud800" in out
    assert "text='two\\nlines'" in out


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("sys.{}.close()", id="closed"),
        pytest.param("os.close(sys.{}.fileno())", id="its descriptor is closed"),
        pytest.param("sys.{} = None", id="there is none"),
        pytest.param("os.dup2(os.open('/dev/full', os.O_WRONLY), sys.{}.fileno())", id="on a full disk"),
    ],
)
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_stream_that_takes_nothing_ends_nobody(before: str, stream: str) -> None:
    assert said(stream, before.format(stream))[1].startswith("went on")


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
