"""Runs commands of `sentinel`, each in a process of its own that has the command line loaded.

An order is a line of JSON on standard input; the answer is the command's exit status.
"""

import io
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, suppress
from functools import cache
from pathlib import Path


def run(words: Sequence[str], where: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run one command there; gives what `subprocess.run` would."""
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, "out"), Path(folder, "errors")]
        order = {"words": words, "where": str(where), "env": dict(env), "said": list(map(str, said))}
        print(json.dumps(order), file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        return subprocess.CompletedProcess(words, status, *(each.read_text() for each in said))


@cache
def _server() -> "subprocess.Popen[str]":
    """Start it; it ends when this process does."""
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, __file__], stdin=pipe, stdout=pipe, text=True)


def _serve() -> None:
    import sentinel.config  # noqa: F401 (most commands need it)
    from sentinel.cli import app

    with redirect_stderr(io.StringIO()), suppress(SystemExit):
        app(["no such command"])  # what it loads all others have
    for line in sys.stdin:
        order = json.loads(line)
        if (child := os.fork()) == 0:
            _become(order)
            app(order["words"], prog_name="sentinel")
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def _become(order: dict[str, object]) -> None:
    """Take the directory, environment and streams that were asked for."""
    os.chdir(str(order["where"]))
    os.environ.clear()
    os.environ.update(order["env"])  # type: ignore[call-overload]
    sys.argv = ["sentinel", *order["words"]]  # type: ignore[misc]
    for number, path in enumerate([os.devnull, *order["said"]]):  # type: ignore[misc]
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)


if __name__ == "__main__":
    _serve()
