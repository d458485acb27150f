"""What a newcomer types, and what an operator waits for."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from test_commands import STATUS, Controller, _recording, controller, sentinel
from typer.testing import CliRunner

from sentinel.cli import app
from sentinel.model.finding import Health
from sentinel.model.policy import Policy
from sentinel.web.view import NodeView, Silence

__all__ = ["controller"]


def test_a_bare_command_shows_help_with_examples() -> None:
    bare, asked = CliRunner().invoke(app, []), CliRunner().invoke(app, ["--help"])
    assert (bare.exit_code, bare.stdout) == (0, asked.stdout)
    for part in ("Operate", "Test and inspect", "Examples:", "sentinel drain n2 --wait"):
        assert part in bare.stdout


@pytest.mark.parametrize("name", [each.name or each.callback.__name__ for each in app.registered_commands])
def test_every_command_has_an_example(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert f"sentinel {name}" in result.stdout.partition("Examples:")[2]


@pytest.mark.parametrize("name", [each.name or each.callback.__name__ for each in app.registered_commands])
def test_every_argument_is_explained_and_no_switch_shows_a_type(name: str) -> None:
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    for param in command.params:
        assert param.help, f"{name} {param.name}"
    shown = CliRunner().invoke(app, [name, "--help"]).stdout
    assert "<bool>" not in shown
    assert "moe" not in shown


def test_config_says_what_is_in_effect_and_where_it_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "blue.toml"
    file.write_text('# ours\n[cluster]\nname = "blue"\n\n[job]\nworld = 3\nname = "run-7"\n')
    monkeypatch.setenv("SENTINEL_JOB__WORLD", "5")
    monkeypatch.setenv("SENTINEL_PAGES__SLACK_TOKEN", "xoxb-secret")
    monkeypatch.setenv("COLUMNS", "200")
    after = CliRunner().invoke(app, ["config", "--config", str(file)])
    before = CliRunner().invoke(app, [f"--config={file}", "config"])
    assert after.exit_code == 0, after.output
    assert after.stdout == before.stdout, "the file may be named before the command or after it"
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in after.stdout.splitlines()]
    for row in (
        ["cluster.name", "blue", f"{file}:3"],
        ["job.name", "run-7", f"{file}:7"],
        ["job.world", "5", "SENTINEL_JOB__WORLD"],
        ["job.min_world", "1", "default"],
        ["pages.slack_token", "[hidden]", "SENTINEL_PAGES__SLACK_TOKEN"],
    ):
        assert row in rows
    assert after.stdout.splitlines()[-1] == f"settings used: {file}, as --config says"
    changed = CliRunner().invoke(app, ["config", "--changed", "--config", str(file)]).stdout
    assert ("job.world" in changed, "job.min_world" in changed) == (True, False)


@pytest.mark.usefixtures("controller")
def test_what_is_piped_is_not_wrapped(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS")
    finding = "gpu-1: " + "a long story " * 40
    node = NodeView("n2", Health.CRITICAL, 0.3, gpus=2, findings=(finding.strip(),))
    controller.now = dataclasses.replace(STATUS, nodes=(node,))
    assert finding.strip() in CliRunner().invoke(app, ["status"]).stdout


def test_silences_are_listed_with_their_end_and_lifted(controller: Controller) -> None:
    assert CliRunner().invoke(app, ["silences"]).stdout == "nobody is silenced\n"
    controller.now = dataclasses.replace(
        STATUS, silences=(Silence("gpu-lost", STATUS.now + 7200.0, "ann", "new [GPU] on Monday"),)
    )
    shown = CliRunner().invoke(app, ["silences"]).stdout
    assert "gpu-lost" in shown
    assert "2 h 00 min" in shown
    assert "ann" in shown
    assert "new [GPU] on Monday" in shown
    status = CliRunner().invoke(app, ["status"]).stdout
    assert "silenced until" in status
    assert "gpu-lost (ann: new [GPU] on Monday)" in " ".join(status.split())
    plain = json.loads(CliRunner().invoke(app, ["silences", "--json"]).stdout)
    assert plain["silences"] == [
        {"target": "gpu-lost", "until": 7300.0, "who": "ann", "reason": "new [GPU] on Monday"}
    ]
    assert CliRunner().invoke(app, ["unsilence", "gpu-lost"]).exit_code == 0
    assert [(asked.command, asked.target) for asked in controller.asked] == [("unsilence", "gpu-lost")]


@pytest.mark.parametrize("words", [["retry", "I-0001"], ["retry", "n1"], ["grow", "moe"]])
def test_retry_and_grow_reach_the_controller(controller: Controller, words: list[str]) -> None:
    assert CliRunner().invoke(app, words).exit_code == 0
    assert [[asked.command, asked.target] for asked in controller.asked] == [words]


class Emptying(Controller):
    """A node that is full for some looks, and then empty."""

    looks: Iterator[str]

    def status(self):  # type: ignore[no-untyped-def]
        node = NodeView("n1", Health.OK, 0.2, cordon="fans (operator)", full=next(self.looks, ""))
        return dataclasses.replace(STATUS, nodes=(node,))


@pytest.fixture
def emptying(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> Emptying:
    controller.__class__ = Emptying
    monkeypatch.setattr("sentinel.cli.operate.LOOK_EVERY_S", 0.0)
    return controller  # type: ignore[return-value]


def test_a_drain_says_what_it_waits_for_and_waits_until_the_node_is_empty(emptying: Emptying) -> None:
    emptying.looks = iter(["moe has rank 1 there", "moe has rank 1 there", "2 standbys are being stopped"])
    result = CliRunner().invoke(app, ["drain", "n1", "--wait"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "drain n1",
        "waiting: moe has rank 1 there",
        "waiting: 2 standbys are being stopped",
        "n1 is empty",
    ]


def test_a_drain_that_is_not_done_in_time_fails_with_the_reason(emptying: Emptying) -> None:
    emptying.looks = iter(lambda: "moe needs 3 ranks", None)  # type: ignore[arg-type]
    result = CliRunner().invoke(app, ["drain", "n1", "--deadline", "0s"])
    assert (result.exit_code, result.stderr) == (
        1,
        "sentinel: n1 is not empty in time: moe needs 3 ranks\n",
    )


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        pytest.param(
            lambda text: "".join(text.splitlines(keepends=True)[:-1]), "is cut after line 3", id="a line"
        ),
        pytest.param(lambda text: text[:-9], "line 4: is cut: ", id="the middle of a line"),
    ],
)
def test_a_recording_that_was_cut_is_not_without_differences(tmp_path: Path, cut, says: str) -> None:  # type: ignore[no-untyped-def]
    file = _recording(tmp_path, Policy(), lambda _: ())
    file.write_text(cut(file.read_text()))
    result = CliRunner().invoke(app, ["replay", str(file)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert says in result.stderr


def test_a_check_does_not_call_gpus_ok_that_it_has_not_seen(tmp_path: Path) -> None:
    without = sentinel("check", "gpu", "--gpus", "none", where=tmp_path)
    assert (without.returncode, "skipped" in without.stdout, " ok " in without.stdout) == (0, True, False)
    asked = sentinel("check", "gpu", "--gpus", "nvml", where=tmp_path)
    if asked.returncode:  # a machine without a driver, as most that run this
        assert "nvidia-smi" in asked.stdout
