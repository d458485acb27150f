"""The command line: what it asks of the controller, and that every error is one line."""

import dataclasses
import getpass
import importlib.metadata
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import command_server
import pytest
import uvicorn
from typer.testing import CliRunner

from sentinel.adapters.keys import ensure_keys
from sentinel.cli import app
from sentinel.core.fold import fold
from sentinel.core.state import Rules, State
from sentinel.gang.snapshot_keys import checkpoint_key, job_key
from sentinel.logbook.book import Logbook
from sentinel.logbook.recording import write
from sentinel.logbook.row import Row
from sentinel.model.codec import to_plain
from sentinel.model.decision import Decision
from sentinel.model.fact import DeadlinePassed, Fact, JobSubmitted, NodeJoined
from sentinel.model.finding import Health
from sentinel.model.ids import Cause, IncidentId, JobId, NodeId
from sentinel.model.incident import Diagnosis, Incident, Suspect
from sentinel.model.journal import Line, Recording
from sentinel.model.policy import Policy
from sentinel.runbooks import load as load_runbooks
from sentinel.runtime import running
from sentinel.trainer import checkpoint as store
from sentinel.web.app import create_app
from sentinel.web.view import (
    Command,
    CommandRefusedError,
    IncidentView,
    JobView,
    NodeView,
    SeatView,
    Status,
)

STATUS = Status(
    now=100.0,
    cluster="blue",
    started=0.0,
    nodes=(
        NodeView("n1", Health.OK, 0.2, gpus=2),
        NodeView("n2", Health.CRITICAL, 0.3, cordon="gpu-lost (I-7)", gpus=2, findings=("gpu-1: [lost]",)),
        NodeView("n3", Health.UNKNOWN, None, silent=True),
    ),
    jobs=(
        JobView(
            "moe", "running", 3, 41, 2, (SeatView(0, "n1", 0, "w1", 41), SeatView(1, "n1", 1, "w2", 41)),
            (("w5", "n1"),), snapshot_step=40, median_step_s=0.125,
        ),
    ),
    incidents=(IncidentView("I-7", 90.0, "mitigating", "GPU fell off the bus", where="n2 gpu-1"),),
    stopped="ada: maintenance",
)  # fmt: skip


class Controller:
    """What the controller puts behind its API; keeps the commands that arrive."""

    def __init__(self, book: Logbook) -> None:
        self.book = book
        self.asked: list[Command] = []
        self.now = STATUS
        self.then: list[Status] = []
        """What is so when it is looked at next."""

    def status(self) -> Status:
        if self.then:
            self.now = self.then.pop(0)
        return self.now

    def why(self, name: str) -> list[tuple[str, str]] | None:
        return [("is", "in use"), ("guard", "actions are [b]stopped[/b]: ann")] if name == "node-1" else None

    def search(self, query: str) -> list[Row]:
        return self.book.search(query)

    def entry(self, incident: str) -> str | None:
        return self.book.entry(incident)

    def row(self, incident: str) -> Row | None:
        return self.book.row(incident)

    async def command(self, command: Command) -> str:
        if command.target == "n9":
            raise CommandRefusedError("no node 'n9': known are n1")
        self.asked.append(command)
        return f"{command.command} {command.target}".strip()


@pytest.fixture
def controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    served = Controller(Logbook(tmp_path / "logbook"))
    app = create_app(served, served.command, ensure_keys(tmp_path / "keys").api_token)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        file = tmp_path / "sentinel.toml"
        port = listening.getsockname()[1]
        file.write_text(f"[cluster]\nstate_dir = '{tmp_path}'\nweb_port = {port}\n")
        monkeypatch.setenv("SENTINEL_CONFIG", str(file))
        monkeypatch.setenv("COLUMNS", "200")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield served
        server.should_exit = True
        thread.join()


def test_status_shows_nodes_job_incidents_and_what_stops_actions(controller: Controller) -> None:
    result = CliRunner().invoke(app, ["status"])
    assert result.exit_code == 0, result.output
    assert "ACTIONS ARE STOPPED by ada: maintenance" in result.stdout
    shown = " ".join(result.stdout.split())
    for row in (
        "n1 ok 0.2 2 0-1 1",
        "n2 critical 0.3 2 0 cordoned: gpu-lost (I-7) gpu-1: [lost]",
        "n3 silent - 0 0",
        "moe running 3 41 40 0.125 2 of 2 1",
        "I-7 mitigating warning 10.0 GPU fell off the bus: n2 gpu-1",
    ):
        assert row in shown
    plain = json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)
    assert [node["node"] for node in plain["nodes"]] == ["n1", "n2", "n3"]


def test_status_says_why_nothing_happens(controller: Controller) -> None:
    waiting = dataclasses.replace(
        STATUS.jobs[0], stage="waiting", needs="2 GPUs, and finds 1 GPU on 1 usable node"
    )
    controller.now = dataclasses.replace(STATUS, jobs=(waiting,), ray_trouble="the token is wrong")
    shown = CliRunner().invoke(app, ["status"]).stdout
    assert "Ray can't be asked: the token is wrong\n" in shown
    assert "moe needs 2 GPUs, and finds 1 GPU on 1 usable node\n" in shown


def test_status_why_says_what_decides_about_an_object(controller: Controller) -> None:
    shown = CliRunner().invoke(app, ["status", "--why", "node-1"])
    assert shown.exit_code == 0, shown.output
    lines = [line.strip().split(maxsplit=1) for line in shown.stdout.splitlines()]
    assert ["is", "in use"] in lines
    assert ["guard", "actions are [b]stopped[/b]: ann"] in lines
    plain = json.loads(CliRunner().invoke(app, ["status", "--why", "node-1", "--json"]).stdout)
    assert plain["reasons"][0] == {"kind": "is", "text": "in use"}
    missing = CliRunner().invoke(app, ["status", "--why", "n 1"])
    assert (missing.exit_code, "no node, job or open incident 'n 1'" in missing.output) == (1, True)


@pytest.mark.parametrize("stage", ["running", "forming"])
def test_status_says_what_is_left_and_which_job_is_degraded(controller: Controller, stage: str) -> None:
    incident = dataclasses.replace(STATUS.incidents[0], earlier=("First: rank-crash",), left=("see to n2",))
    small = dataclasses.replace(STATUS.jobs[0], wanted=3, stage=stage)
    controller.now = dataclasses.replace(
        STATUS, jobs=(small,), incidents=(incident,), left=("n2 awaits repair",)
    )
    shown = CliRunner().invoke(app, ["status"]).stdout
    for part in (
        "moe is degraded: it has 2 of 3 ranks\n",
        "\n     degraded",
        "left for people: n2 awaits repair\n",
        "First: rank-crash",
        "left: see to n2",
    ):
        assert part in shown


def test_status_of_a_large_cluster_shows_the_nodes_that_need_a_look(controller: Controller) -> None:
    well = tuple(NodeView(f"node-{n}", Health.OK, 0.2) for n in range(400))
    controller.now = dataclasses.replace(STATUS, nodes=(*well, *STATUS.nodes))
    shown = CliRunner().invoke(app, ["status"]).stdout
    assert "blue: 403 nodes, 401 of them well and not shown" in shown
    assert "node-7" not in shown
    assert "n2" in shown


def test_incidents_lists_the_logbook_and_what_is_open(controller: Controller) -> None:
    assert "I-7" in CliRunner().invoke(app, ["incidents"]).stdout
    found = Diagnosis(Cause("rank-crash"), (Suspect(NodeId("n1"), 0, 0, 0.9),), 0.9, "signal 9")
    times = {"detected": 50.0, "new_step": 52.5}
    controller.book.write(Incident(IncidentId("I-6"), 50.0, diagnosis=found, times=times, steps_lost=1))
    shown = CliRunner().invoke(app, ["incidents"]).stdout
    assert re.search(r"I-6 +[\d: -]+ over +rank-crash +2\.5 +1\s+n1 gpu-0 \(rank 0\)", shown)
    controller.now = dataclasses.replace(STATUS, incidents=())
    (controller.book.folder / "index.jsonl").unlink()
    assert CliRunner().invoke(app, ["incidents"]).stdout == "no incidents\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["ack", "I-1"], Command("ack", "I-1"), id="ack"),
        pytest.param(["judge", "I-1", "--not-node"], Command("not-node", "I-1"), id="judge"),
        pytest.param(["judge", "I-1", "--right"], Command("right", "I-1"), id="judge right"),
        pytest.param(["drain", "n1"], Command("drain", "n1"), id="drain"),
        pytest.param(["undrain", "n1", "--no-proof"], Command("undrain", "n1"), id="undrain without proof"),
        pytest.param(
            ["silence", "gpu-lost", "--until", "30m"],
            Command("silence", "gpu-lost", for_s=1800.0),
            id="silence",
        ),
        pytest.param(
            ["maintain", "n1", "--until", "2h"], Command("maintain", "n1", for_s=7200.0), id="maintain"
        ),
        pytest.param(
            ["maintain", "n1", "--for", "2h"], Command("maintain", "n1", for_s=7200.0), id="maintain for"
        ),
        pytest.param(
            ["silence", "n1", "--for", "1d"], Command("silence", "n1", for_s=86400.0), id="silence for"
        ),
        pytest.param(["silence", "n1"], Command("silence", "n1", for_s=3600.0), id="silence for an hour"),
        pytest.param(["stop-actions"], Command("stop-actions"), id="stop-actions"),
        pytest.param(["resume-actions"], Command("resume-actions"), id="resume-actions"),
    ],
)
def test_a_command_reaches_the_controller_with_who_and_why(
    controller: Controller, words: list[str], expected: Command
) -> None:
    result = CliRunner().invoke(app, [*words, "--reason", "because"])
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{expected.command} {expected.target}".strip() + "\n"
    assert controller.asked == [dataclasses.replace(expected, who=getpass.getuser(), reason="because")]


@pytest.mark.parametrize("command", ["maintain", "silence"])
def test_a_silence_and_a_maintenance_may_end_at_a_time_of_day_or_a_date(
    controller: Controller, command: str
) -> None:
    wanted = (datetime.now().astimezone() + timedelta(days=3)).replace(second=0, microsecond=0)
    for until in ("14:30", f"{wanted:%Y-%m-%d %H:%M}", f"{wanted:%Y-%m-%d}"):
        result = CliRunner().invoke(app, [command, "n1", "--until", until])
        assert result.exit_code == 0, result.output
    ends = [datetime.now().astimezone() + timedelta(seconds=asked.for_s) for asked in controller.asked]
    assert f"{ends[0]:%H:%M}" == "14:30"
    assert 0 < controller.asked[0].for_s <= 86400
    assert abs(ends[1] - wanted) < timedelta(seconds=60)
    assert abs(ends[2] - wanted.replace(hour=0, minute=0)) < timedelta(seconds=60)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give one of --right, --not-node and --not-cause"),
        (["--right", "--not-node"], "give one of --right, --not-node and --not-cause"),
        (["--not-node"], "--not-node: say with --reason what it was"),
        (["--not-cause", "--reason", " "], "--not-cause: say with --reason what it was"),
    ],
)
def test_a_judgement_is_one_and_has_a_reason(controller: Controller, words: list[str], said: str) -> None:
    result = CliRunner().invoke(app, ["judge", "I-1", *words])
    assert (result.exit_code, controller.asked) == (2, [])
    assert said in result.stderr


def test_status_says_that_buttons_do_not_work(controller: Controller) -> None:
    controller.now = dataclasses.replace(STATUS, slack_trouble="apps.connections.open: token_expired")
    shown = CliRunner().invoke(app, ["status"]).stdout
    assert "Buttons in Slack do not work: apps.connections.open: token_expired" in " ".join(shown.split())


def test_no_proof_needs_a_reason(controller: Controller) -> None:
    result = CliRunner().invoke(app, ["undrain", "n1", "--no-proof"])
    assert (result.exit_code, controller.asked) == (2, [])
    assert "--reason" in result.stderr


@pytest.mark.parametrize(
    ("stage", "cordon", "proof", "code", "said"),
    [
        ("passed", "", "proof passed, asked by ann: gemm: tflops 1", 0, "n1 is in use again"),
        ("failed", "gpu-ecc (I-7)", "proof failed, asked by ann: gpu found", 4, "stays out: proof failed"),
        ("could not be run", "gpu-ecc (I-7)", "proof could not be run: no torch", 1, "no torch"),
        ("", "", "", 0, "n1 is in use again"),
    ],
)
def test_undrain_says_what_a_node_has_proved(
    controller: Controller, stage: str, cordon: str, proof: str, code: int, said: str
) -> None:
    old = NodeView("n1", Health.OK, 0.2, cordon="x", proof="proof failed", proof_stage="failed", proof_at=5.0)
    runs = dataclasses.replace(old, proof="proof, runs gemm", proof_stage="under way", proof_at=9.0)
    ended = dataclasses.replace(old, cordon=cordon, proof=proof, proof_stage=stage, proof_at=9.0)
    nodes = [old, old, runs, runs, ended] if stage else [ended]
    controller.then = [dataclasses.replace(STATUS, nodes=(node,)) for node in nodes]
    result = CliRunner().invoke(app, ["undrain", "n1", "--reason", "because"])
    assert result.exit_code == code, result.output
    assert said in result.output
    assert ("proof, runs gemm\n" in result.stdout) is bool(stage)
    assert controller.asked == [Command("prove", "n1", getpass.getuser(), "because")]


def test_a_refusal_is_told_with_its_reason(controller: Controller) -> None:
    result = CliRunner().invoke(app, ["drain", "n9"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "sentinel: the controller refuses: no node 'n9': known are n1\n"


def test_down_without_anything_running_says_so(tmp_path: Path) -> None:
    ended = sentinel("down", where=tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "nothing of sentinel runs here\n")


def _recording(directory: Path, policy: Policy, decided: Callable[[Fact], tuple[Decision, ...]]) -> Path:
    """Record what an operator's commands led to."""
    facts: tuple[Fact, ...] = (
        JobSubmitted(1.0, JobId("moe"), 1, "m:T", 1, 1),
        NodeJoined(2.0, NodeId("n1"), "127.0.0.1", 1, 1, "boot"),
        DeadlinePassed(3.0, "place/moe"),
    )
    lines = tuple(Line(seq, fact, decided(fact), "p", "r") for seq, fact in enumerate(facts, 1))
    file = directory / "recording.jsonl"
    file.write_text(write(Recording(IncidentId("i-1"), 0, None, to_plain(policy), lines)))
    return file


def test_replay_prints_decisions_and_agrees_with_what_was_recorded(tmp_path: Path) -> None:
    state, rules = State(), Rules(Policy(), load_runbooks())
    file = _recording(tmp_path, Policy(), lambda fact: fold(state, fact, rules))
    result = CliRunner().invoke(app, ["replay", str(file)])
    assert result.exit_code == 0, result.output
    assert "n1 joined" in result.stdout
    assert "→ start w1 on n1" in result.stdout
    assert result.stdout.endswith("3 facts, 0 differences\n")


def test_replay_names_what_is_decided_differently_and_exits_1(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["replay", str(_recording(tmp_path, Policy(), lambda _: ()))])
    assert result.exit_code == 1, result.output
    said = result.stdout.splitlines()
    assert said[-4] == "differs at 3, DeadlinePassed:"
    assert said[-3].startswith("  + start w1 on n1")
    assert said[-2] == "  + wait for 1 worker of moe"
    assert said[-1] == "3 facts, 1 difference"


def sentinel(*words: str, where: Path) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SENTINEL_")}
    env = {**kept, "PYTHONPATH": str(root), "SENTINEL_CLUSTER__STATE_DIR": str(where / "state")}
    return command_server.run(words, where, env)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        pytest.param(["nope"], 2, "No such command 'nope'", id="unknown command"),
        pytest.param(["ack"], 2, "Missing argument", id="missing argument"),
        pytest.param(["demo", "--nodes", "many"], 2, "--nodes", id="wrong number"),
        pytest.param(["silence", "n1", "--until", "soon"], 2, "such as 30m", id="wrong duration"),
        pytest.param(["--config", "none.toml", "config"], 2, "none.toml: cannot be read", id="no such file"),
        pytest.param(["--config", "bad.toml", "status"], 2, "did you mean 'world'?", id="unknown key"),
        pytest.param(["status"], 1, "no Sentinel was started here", id="no controller was ever here"),
        pytest.param(["replay", "empty"], 1, "empty: holds no fact", id="a recording of nothing"),
        pytest.param(["silence", "n1", "--until", "0s"], 2, "more than nothing", id="no duration"),
        pytest.param(["maintain", "n1"], 2, "either --for", id="maintenance without an end"),
        pytest.param(["silence", "n1", "--for", "1h", "--until", "2h"], 2, "either --for", id="two ends"),
        pytest.param(["silence", "n1", "--until", "2020-01-01"], 2, "more than nothing", id="what is past"),
        pytest.param(["silence", "n1", "--until", "2026-13-01"], 2, "expected a date", id="no date"),
        pytest.param(["maintain", "n1", "--until", "24:00"], 2, "from 00:00 to 23:59", id="no time of day"),
        pytest.param(["silence", "n1", "--until", "31d"], 2, "at most 30d", id="too long a duration"),
        pytest.param(["demo", "--fault", ","], 2, "--fault names none: known are agent-", id="no fault"),
        pytest.param(["replay", "none.jsonl"], 1, "none.jsonl: No such file", id="no recording"),
        pytest.param(["replay", "bad.toml"], 1, "bad.toml", id="not a recording"),
        pytest.param(["replay", "binary"], 1, "binary: not a recording: 'utf-8' codec", id="not even text"),
        pytest.param(
            ["replay", "policy"],
            1,
            "policy: not a recording: no Policy: Expected `float`",
            id="policy of another",
        ),
        pytest.param(["replay", "state"], 1, "state: not a recording: no StoredState", id="foreign state"),
        pytest.param(["check", "--gpus", "amd"], 2, "--gpus 'amd': expected nvml, none or", id="wrong GPUs"),
        pytest.param(["check", "nope"], 2, "no check 'nope' runs by hand: known are", id="an unknown check"),
    ],
)
def test_an_error_is_one_line_and_no_traceback(
    tmp_path: Path, words: list[str], code: int, says: str
) -> None:
    (tmp_path / "bad.toml").write_text("[job]\nwrold = 3\n")
    (tmp_path / "binary").write_bytes(b"\xd0\xff")
    header = {"recording": "I-1", "v": 1, "policy": None, "state_seq": 0, "state": None}
    (tmp_path / "empty").write_text(json.dumps(header))
    (tmp_path / "policy").write_text(json.dumps(header | {"policy": {"silent_s": "x"}}))
    (tmp_path / "state").write_text(json.dumps(header | {"state": {"nodes": 1}}))
    ended = sentinel(*words, where=tmp_path)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert says in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_no_controller_at_the_port_is_one_line(tmp_path: Path) -> None:
    ensure_keys(tmp_path / "state" / "keys")
    (tmp_path / "sentinel.toml").write_text("[cluster]\nweb_port = 1\n")
    ended = sentinel("status", where=tmp_path)
    assert ended.returncode == 1
    assert "no controller answers at http://127.0.0.1:1/api/status" in ended.stderr
    assert "`sentinel up` on the head node starts one; settings used: sentinel.toml; " in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_where_nothing_was_started_the_settings_that_were_used_are_told(tmp_path: Path) -> None:
    ended = sentinel("status", where=tmp_path)
    assert ended.returncode == 1
    assert f"({tmp_path}/state/keys: no such folder)" in ended.stderr
    assert "settings used: the defaults: neither ./sentinel.toml nor /etc/sentinel/" in ended.stderr
    assert "give --config FILE or set SENTINEL_CONFIG" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_a_token_that_is_none_is_one_line(tmp_path: Path) -> None:
    keys = ensure_keys(tmp_path / "state" / "keys").directory
    (keys / "api.token").write_bytes(b"\xff\xfe")
    ended = sentinel("status", where=tmp_path)
    assert (ended.returncode, ended.stderr) == (1, f"sentinel: {keys}/api.token: not a token\n")


def test_while_the_watchdog_replaces_a_controller_that_is_said(tmp_path: Path) -> None:
    ensure_keys(tmp_path / "state" / "keys")
    (tmp_path / "sentinel.toml").write_text("[cluster]\nweb_port = 1\n")
    held = ["-c", "import sys; sys.stdin.read()", "-m", running.WATCHDOG]
    with subprocess.Popen([sys.executable, *held], stdin=subprocess.PIPE) as watchdog:
        running.write(tmp_path / "state" / "watchdog.lock", running.child(watchdog.pid))
        ended = sentinel("status", where=tmp_path)
        watchdog.kill()
    assert f"the watchdog (pid {watchdog.pid}) is replacing it" in ended.stderr
    assert "sentinel up" not in ended.stderr


@pytest.mark.parametrize("name", ["nosuch", "xid"])
def test_up_refuses_a_proof_by_a_check_that_there_is_not(tmp_path: Path, name: str) -> None:
    (tmp_path / "sentinel.toml").write_text(f"[policy]\npreflight = ['{name}']\n")
    ended = sentinel("up", where=tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert (
        f"sentinel.toml:2: policy.preflight: no collective check '{name}'; known are all_reduce, gemm, pair"
        in ended.stderr
    )
    assert not (tmp_path / "state").exists()


def test_a_key_that_is_like_no_other_is_refused_with_the_nearest_and_not_with_all(tmp_path: Path) -> None:
    (tmp_path / "sentinel.toml").write_text("[policy]\nhourz = 1\n")
    ended = sentinel("status", where=tmp_path)
    assert "unknown key policy.hourz" in ended.stderr
    assert "the nearest of" in ended.stderr
    assert len(ended.stderr) < 300


def test_up_refuses_a_trainer_config_that_is_not_there_and_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "sentinel.toml").write_text("[job]\ntrainer_config = 'none.toml'\n")
    ended = sentinel("up", where=tmp_path)
    assert (ended.returncode, ended.stderr) == (
        2,
        "sentinel: nothing was started: sentinel.toml:2: job.trainer_config: no such file: none.toml\n",
    )
    assert not (tmp_path / "state").exists()


def test_up_without_a_ray_that_answers_says_what_was_tried_and_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "sentinel.toml").write_text("[ray]\naddress = '127.0.0.1:1'\n")
    ended = sentinel("up", where=tmp_path)
    said = "sentinel: nothing was started: no Ray answers at ray.address 127.0.0.1:1 (127.0.0.1:1: refused): "
    more = "start it with `ray start --head --port=1`, or set ray.address\n"
    assert (ended.returncode, ended.stderr) == (1, said + more)
    assert list((tmp_path / "state").iterdir()) == []


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, sentinel.cli\n"
        "heavy = {'ray', 'torch', 'pydantic', 'httpx', 'zmq', 'fastapi'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": root}, check=True)
    assert sentinel("--help", where=tmp_path).returncode == 0


def test_the_release_can_be_asked_for() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.stdout.strip()) == (0, importlib.metadata.version("sentinel-cluster"))


def test_config_lists_every_setting(tmp_path: Path) -> None:
    ended = sentinel("config", "--markdown", where=tmp_path)
    assert ended.returncode == 0
    assert "| `job.world` | `2` |" in ended.stdout


def test_config_says_what_the_keys_of_a_receiver_are_for(tmp_path: Path) -> None:
    (tmp_path / "sentinel.toml").write_text(
        "[receivers.ops]\nkind = 'webhook'\nurl = 'http://h/'\n[routes.night]\nhours = '22:00-07:00'\n"
    )
    ended = sentinel("config", "--changed", "--reasons", "--json", where=tmp_path)
    shown = {each["setting"]: each["reason"] for each in json.loads(ended.stdout)["settings"]}
    assert shown["receivers.ops.kind"].startswith("`pagerduty`")
    assert shown["receivers.ops.url"] == ""
    assert shown["routes.night.hours"].startswith("Of a day in")


def test_config_tries_what_the_settings_name_where_asked_to(tmp_path: Path) -> None:
    (tmp_path / "sentinel.toml").write_text("[receivers.ops]\nkind = 'webhook'\nurl = 'nonsense'\n")
    ended = sentinel("config", "--check", where=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("sentinel: sentinel.toml:3: receivers.ops.url: ")
    assert sentinel("config", where=tmp_path).returncode == 0


def test_the_manual_lists_every_command() -> None:
    manual = (Path(__file__).parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    table = manual.partition("## Commands")[2].partition("## When a part dies")[0]
    said = set(re.findall(r"^\| `sentinel ([a-z-]+)", table, re.MULTILINE))
    known = {each.name or each.callback.__name__ for each in app.registered_commands if each.callback}
    known |= {each.name for each in app.registered_groups}
    assert said == known


def test_checkpoints_of_an_older_release_are_listed_and_sealed_on_request(tmp_path: Path) -> None:
    keys = ensure_keys(tmp_path / "state" / "keys")
    (tmp_path / "sentinel.toml").write_text('[cluster]\nstate_dir = "state"\n[job]\ncheckpoint_dir = "job"\n')
    target = store.folder(tmp_path / "job" / "checkpoints", 3, 1)
    target.path.mkdir(parents=True)
    (target.path / "__0_0.distcp").write_bytes(b"weights")
    store.commit(target, 1, store.hash_files(target.path, ["__0_0.distcp"]), b"a key that is lost")
    listed = sentinel("seal-checkpoints", where=tmp_path)
    assert (listed.returncode, "7 bytes, of user" in listed.stdout) == (1, True)
    sealed = sentinel("seal-checkpoints", "--yes", where=tmp_path)
    assert (sealed.returncode, sealed.stdout[:8]) == (0, "sealed: ")
    store.verify(target, checkpoint_key(job_key(keys.snapshot_secret, "train")))
    assert sentinel("seal-checkpoints", where=tmp_path).stdout == ""
