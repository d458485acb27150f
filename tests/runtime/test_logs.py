"""A log line costs nobody anything, and says who wrote it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

import sentinel
from sentinel.logs import BURST, EVERY_S, Ration

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


SECRET = "ghp_q7Rk2vXw9Zp4Lm8Ty3Ns6Bd1"
TELLS = f"""
import logging, threading
import structlog
from sentinel import logs
logs.{{start}}
log = structlog.get_logger(logger_name="perform")
secret = "".join({[*SECRET]!r})
def fails():
    raise RuntimeError(f"POST with Authorization: Bearer {{{{secret}}}}")
try:
    fails()
except RuntimeError as error:
    log.exception("action-failed", token=secret, text=f"said\\n{{{{secret}}}}")
    logging.getLogger("asyncio").exception("Task exception was never retrieved")
    logging.getLogger("uvicorn.error").error("in %s", secret)
    log.info("escape", text="\\x1b]0;owned\\x07 \\x9b31m \\u202e", node=f"n1\\x1b[2J")
thread = threading.Thread(target=fails)
thread.start()
thread.join()
fails()
"""


@pytest.mark.parametrize("start", ["to_stdout()", "to_stderr()"])
def test_no_log_holds_a_secret_or_an_order_to_a_terminal(start: str) -> None:
    program = TELLS.replace("{start}", start).replace("{{", "{").replace("}}", "}")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert output.count("RuntimeError: POST with Authorization: Bearer [hidden]") == 4
    assert "token=[hidden]" in output
    assert SECRET not in output
    assert SECRET[4:] not in output
    assert not set(output) & set("\x1b\x07\x9b\u202e")


def test_a_rank_s_own_loggers_stay_its_own() -> None:
    program = (
        "import logging; from sentinel import logs; logs.to_stdout(alone=False); print(logging.root.handlers)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "[]\n"


def test_what_strangers_do_does_not_fill_the_log() -> None:
    flood = "for n in range(5000): log.warning('refused', peer=n)\nlog.warning('another matter')"
    output = said("stderr", flood)[0].splitlines()
    assert sum("refused" in line for line in output) == BURST
    assert any("another matter" in line for line in output)


def test_a_line_that_comes_after_others_were_left_out_says_how_many() -> None:
    at = [0.0]
    ration = Ration(clock=lambda: at[0])

    def passes() -> dict[str, object] | None:
        try:
            return dict(ration(None, "info", {"event": "refused"}))
        except structlog.DropEvent:
            return None

    assert sum(passes() is not None for _ in range(BURST + 7)) == BURST
    at[0] += EVERY_S
    assert passes() == {"event": "refused", "left_out": 7}
    assert passes() is None
    at[0] += BURST * EVERY_S
    assert sum(passes() is not None for _ in range(BURST + 7)) == BURST
