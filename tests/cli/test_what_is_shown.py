"""What commands show: one incident, what changes, for programs, in colour or not; and how they end."""

import dataclasses
import inspect
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
from test_commands import STATUS, Controller, controller
from typer.testing import CliRunner

from sentinel.cli import app, frame
from sentinel.model.finding import Health
from sentinel.model.ids import Cause, IncidentId, NodeId
from sentinel.model.incident import Diagnosis, Incident, Suspect
from sentinel.web.view import NodeView

__all__ = ["controller"]

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
DEADLINE_S = 30.0
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7][0-9;]*m")


@contextmanager
def running(*words: str, out: int = subprocess.PIPE, **env: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command of its own process, ended at the end."""
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    argv = [sys.executable, "-m", "sentinel.cli", *words]
    given = {**kept, "PYTHONPATH": str(ROOT), "TERM": "xterm-256color", **env}
    process = subprocess.Popen(argv, stdout=out, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=given)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


def read_until(descriptor: int, holds: Callable[[str], Any]) -> str:
    """Read what a command says until it has said this."""
    said, ends = "", time.monotonic() + DEADLINE_S
    while not holds(said):
        assert time.monotonic() < ends, said
        if select.select([descriptor], [], [], 0.1)[0]:
            try:
                said += os.read(descriptor, 65536).decode(errors="replace")
            except OSError:  # a terminal's other end is closed
                break
    return said


def on_a_terminal(*words: str, until: str, **env: str) -> tuple[str, int]:
    """Run a command on a terminal until it has said this, and end it by Ctrl-C; gives what it said."""
    master, slave = pty.openpty()
    try:
        with running(*words, out=slave, **env) as process:
            os.close(slave)
            said = read_until(master, lambda text: until in text)
            process.send_signal(signal.SIGINT)
            while select.select([master], [], [], 0.1)[0] or process.poll() is None:
                try:
                    said += os.read(master, 65536).decode(errors="replace")
                except OSError:
                    break
            return said, process.wait(DEADLINE_S)
    finally:
        os.close(master)


def test_a_watched_status_that_is_piped_has_a_line_for_each_change(controller: Controller) -> None:
    with running("status", "--watch") as process:
        assert process.stdout
        assert process.stderr
        told = partial(re.search, r"incident I-7.*\n")  # the whole line
        begun = read_until(process.stdout.fileno(), told)
        for line in (
            "controller: answers",
            "actions: ACTIONS ARE STOPPED by ada: maintenance",
            "node n2: critical; cordoned: gpu-lost (I-7); gpu-1: [lost]",
            "job moe: running, generation 3, 2 of 2 ranks",
            "incident I-7: mitigating, warning, GPU fell off the bus: n2 gpu-1",
        ):
            assert re.search(rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d {re.escape(line)}$", begun, re.MULTILINE)
        job = dataclasses.replace(STATUS.jobs[0], step=99)
        back = NodeView("n3", Health.OK, 0.1)
        controller.now = dataclasses.replace(
            STATUS, now=200.0, jobs=(job,), nodes=(*STATUS.nodes[:2], back), incidents=()
        )
        changed = read_until(process.stdout.fileno(), told).splitlines()
        assert [line[20:] for line in changed] == ["node n3: ok", "incident I-7: over"]
        process.send_signal(signal.SIGINT)
        assert (process.wait(DEADLINE_S), process.stderr.read()) == (0, b"")


def test_a_watched_status_is_redrawn_on_a_terminal_and_ends_cleanly(controller: Controller) -> None:
    said, code = on_a_terminal("status", "--watch", until="n3", COLUMNS="100", LINES="40")
    assert code == 0
    assert "Traceback" not in said
    assert said.count("\x1b[H") >= 1
    assert "\x1b[?1049h" not in said, "whatever ends it, the terminal is as before"
    first = said.split("\x1b[H")[1] if said.startswith("\x1b[2J") else said
    assert first.index("I-7") < first.index("n1 "), "what is open comes first: the end may be cut"


def test_what_is_watched_for_programs_says_what_was_and_is(controller: Controller) -> None:
    with running("status", "--watch", "--json") as process:
        assert process.stdout
        begun = read_until(process.stdout.fileno(), lambda text: "incident I-7" in text)
        rows = [json.loads(line) for line in begun.splitlines()]
        assert {row["what"] for row in rows} >= {"node n1", "job moe", "incident I-7"}
        assert all(row["was"] is None for row in rows)


def test_one_incident_is_shown_whole(controller: Controller) -> None:
    found = Diagnosis(Cause("rank-crash"), (Suspect(NodeId("n1"), 0, 0, 0.9),), 0.9, "signal 9")
    controller.book.write(Incident(IncidentId("I-6"), 50.0, diagnosis=found, times={"detected": 50.0}))
    shown = CliRunner().invoke(app, ["incidents", "I-6"])
    assert (shown.exit_code, shown.stdout) == (0, controller.book.entry("I-6"))
    plain = json.loads(CliRunner().invoke(app, ["incidents", "I-6", "--json"]).stdout)
    assert (plain["logbook"]["cause"], plain["entry"], plain["open"]) == ("rank-crash", shown.stdout, None)
    fresh = CliRunner().invoke(app, ["incidents", "I-7"])  # it is open, and has no entry yet
    assert "GPU fell off the bus: n2 gpu-1" in " ".join(fresh.stdout.split())
    missing = CliRunner().invoke(app, ["incidents", "../I-6"])
    assert (missing.exit_code, missing.stderr.count("\n")) == (1, 1)
    assert "no incident '../I-6': `sentinel incidents` lists them" in missing.stderr


@pytest.mark.parametrize(
    ("env", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)], ids=str
)
def test_colours_are_for_terminals_that_want_them(
    controller: Controller, env: dict[str, str], coloured: bool
) -> None:
    said, _ = on_a_terminal("status", until="GPU fell off", COLUMNS="200", **env)
    assert bool(COLOUR.search(said)) == coloured


def test_what_is_piped_has_no_colour(controller: Controller) -> None:
    with running("status") as process:
        said, _ = process.communicate(timeout=DEADLINE_S)
    assert b"GPU fell off" in said
    assert b"\x1b" not in said


def shown_commands() -> Iterator[tuple[str, typer.models.CommandInfo]]:
    for each in app.registered_commands:
        yield each.name or each.callback.__name__, each  # type: ignore[union-attr]
    for group in app.registered_groups:
        for each in group.typer_instance.registered_commands:  # type: ignore[union-attr]
            yield f"{group.name} {each.name or each.callback.__name__}", each  # type: ignore[union-attr]


DO_AND_SAY_SO = {"dashboards build", "runbook enable", "runbook disable"} | {
    *("up", "down", "ack", "silence", "unsilence", "maintain", "drain", "retry", "grow", "undrain"),
    *("stop-actions", "resume-actions", "judge"),
}
"""They do something, and one line says what."""
IN_A_FORM = {"logbook export"}
"""They are for programs: JSON Lines, or what `--form` says."""


def test_every_command_that_shows_something_shows_it_for_programs_too() -> None:
    commands = list(shown_commands())
    without = {
        name
        for name, each in commands
        if each.callback and "json" not in inspect.signature(each.callback).parameters
    }
    assert without == DO_AND_SAY_SO | IN_A_FORM


def test_a_shell_completes_commands() -> None:
    env = {"_SENTINEL_COMPLETE": "complete_bash", "COMP_WORDS": "sentinel sil", "COMP_CWORD": "1"}
    argv = [sys.executable, "-c", "import sys; sys.argv[0] = 'sentinel'; from sentinel.cli import app; app()"]
    done = subprocess.run(
        argv, env={**os.environ, **env}, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (done.stdout.split(), done.stderr) == (["silence", "silences"], "")


def test_the_manual_has_every_exit_code() -> None:
    table = MANUAL.partition("### Exit codes")[2].partition("\n#")[0]
    said = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    assert said == {0, frame.FAILED, frame.MISUSED, frame.INTERRUPTED, *frame.EXIT_BY_HEALTH.values()}


def simulated(folder: Path, **changed: object) -> str:
    gpu = {
        "index": 0, "uuid": "GPU-0", "pci": "0000:01:00", "present": True, "ecc_uncorrectable": 0,
        "ecc_corrected": 0, "remap_pending": False, "remap_failed": False, "temperature_c": 45,
        "throttle_reasons": 0, "speed": 1.0, "corrupt": False, **changed,
    }  # fmt: skip
    (folder / "gpus.json").write_text(json.dumps({"gpus": [gpu]}))
    return f"simulated:{folder}/gpus.json"


def test_commands_end_with_the_codes_of_the_manual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(*words: str) -> int:
        return CliRunner().invoke(app, [*words]).exit_code

    monkeypatch.setenv("SENTINEL_CLUSTER__STATE_DIR", str(tmp_path))
    well, lost = simulated(tmp_path), ("check", "gpu", "--gpus")
    assert ends(*lost, well) == 0
    assert ends("status") == frame.FAILED
    assert ends("status", "--nonsense") == frame.MISUSED
    assert ends(*lost, simulated(tmp_path, remap_pending=True)) == frame.EXIT_BY_HEALTH["warning"]
    assert ends(*lost, simulated(tmp_path, present=False)) == frame.EXIT_BY_HEALTH["critical"]


def test_a_command_that_is_interrupted_says_so_by_its_code(controller: Controller) -> None:
    node = dataclasses.replace(STATUS.nodes[1], full="rank 0 of moe is there")
    controller.now = dataclasses.replace(STATUS, nodes=(node,))
    with running("drain", "n2", "--wait") as process:
        assert process.stdout
        assert process.stderr
        read_until(process.stdout.fileno(), lambda text: "waiting: rank 0" in text)
        process.send_signal(signal.SIGINT)
        assert (process.wait(DEADLINE_S), process.stderr.read()) == (frame.INTERRUPTED, b"")
