"""A command that only asks the controller loads no more than asking takes: that is what its time is."""

import subprocess
import sys
from pathlib import Path

import pytest
from test_commands import Controller, controller

__all__ = ["controller"]

COSTLY = (
    "asyncio",
    "fastapi",
    "httpx",
    "jinja2",
    "prometheus_client",
    "psutil",
    "pydantic_settings",
    "ray",
    "sentinel.core.fold",
    "sentinel.model.fact",
    "sqlite3",
    "structlog",
    "torch",
    "uvicorn",
    "yaml",
    "zmq",
)
RUNS = f"""
import sys
from sentinel.cli import app
try:
    app(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
sys.exit(", ".join(sorted({{*{COSTLY}}} & sys.modules.keys())) or 0)
"""


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["drain", "--help"],
        ["report", "--help"],
        ["logbook", "search", "--help"],
        ["status"],
        ["status", "--json"],
        ["status", "--why", "node-1"],
        ["incidents"],
        ["incidents", "I-7"],
        ["silences"],
        ["learn", "--help"],
        ["runbook", "--help"],
        ["ack", "I-7"],
        ["judge", "I-7", "--right"],
        ["unsilence", "gpu-lost"],
        ["drain", "n1"],
    ],
    ids=" ".join,
)
def test_a_command_loads_nothing_that_it_does_not_use(controller: Controller, words: list[str]) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", RUNS, *words], cwd=root, capture_output=True, text=True, check=False
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout
    assert bool(controller.asked) == (words[0] in ("ack", "judge", "unsilence") or words == ["drain", "n1"])
