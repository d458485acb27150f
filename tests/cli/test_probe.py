"""`sentinel probe`: what an operator has nodes measure, what it disturbs, and what comes of it."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn
from click.testing import Result
from test_commands import Controller
from typer.testing import CliRunner

from sentinel.adapters.keys import ensure_keys
from sentinel.cli import app
from sentinel.logbook.book import Logbook
from sentinel.model.fact import Fact, MembersProbed, NodeJoined
from sentinel.model.ids import NodeId
from sentinel.model.report import GetReady, MeasureNow, OrderDone
from sentinel.runtime.hand_probes import HandProbes
from sentinel.runtime.members import fleet_of
from sentinel.web.app import create_app
from tests.core.simulated import Simulated

GOOD = {"mb_per_s": 400.0, "ms": 0.4}


class Agents:
    """Agents that answer what they are told to; until `go` is set they measure on."""

    def __init__(self) -> None:
        self.says: Callable[[NodeId, MeasureNow], dict[str, float]] = lambda node, order: GOOD
        self.go = threading.Event()
        self.go.set()

    async def order(self, node: NodeId, order: MeasureNow | GetReady, within: float) -> OrderDone:
        if isinstance(order, GetReady):
            return OrderDone(order.order, True, "measured")
        while not self.go.is_set():
            await asyncio.sleep(0.01)
        return OrderDone(order.order, True, "measured", (json.dumps(self.says(node, order)),))


class Lab:
    """Six nodes, two of them with ranks of a job, and a controller's web server in front of them."""

    def __init__(self, folder: Path) -> None:
        self.agents, self.learned = Agents(), list[Fact]()
        self.cluster = Simulated(nodes=6, world=2)
        now = self.cluster.state.now
        fleet = fleet_of(self.cluster.state, self.cluster.rules.policy, lambda: now)
        asked = self.learned.append, lambda: now, 45.0, fleet
        self.prober = HandProbes(self.agents, self.cluster.state, *asked)
        served = Controller(Logbook(folder / "logbook"))
        token = ensure_keys(folder / "keys").api_token
        self.app = create_app(served, served.command, token, prober=self.prober)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    made = Lab(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        file = tmp_path / "sentinel.toml"
        file.write_text(f"[cluster]\nstate_dir = '{tmp_path}'\nweb_port = {listening.getsockname()[1]}\n")
        monkeypatch.setenv("SENTINEL_CONFIG", str(file))
        monkeypatch.setenv("COLUMNS", "200")
        server = uvicorn.Server(uvicorn.Config(made.app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield made
        made.agents.go.set()
        server.should_exit = True
        thread.join()


def probe(*words: str) -> Result:
    return CliRunner().invoke(app, ["probe", *words])


def test_free_nodes_measure_and_what_they_say_is_shown_and_journalled(lab: Lab) -> None:
    result = probe("pair")
    assert result.exit_code == 0, result.output
    shown = result.stdout
    assert "pair on n3, n4, n5, n6, for 45 s at most once all are ready\nno job has ranks there" in shown
    assert "mb_per_s" in shown
    assert "12 of 12 measurements" in shown
    assert "nobody stands out" in shown
    (fact,) = lab.learned
    assert isinstance(fact, MembersProbed)
    assert (fact.incident, len(fact.samples), bool(fact.who)) == ("", 12, True)
    assert lab.cluster.tell(fact) == (), "people asked, and people decide"
    assert lab.cluster.incidents() == []


def test_one_that_stands_out_is_named_and_the_exit_code_says_so(lab: Lab) -> None:
    slow = {"mb_per_s": 0.4, "ms": 300.0}
    lab.agents.says = lambda node, order: slow if "n4" in order.meeting.members else GOOD
    result = probe("pair")
    assert result.exit_code == 4, result.output
    assert "critical: n4 link" in result.stdout
    assert not lab.cluster.evicted()


def test_a_node_measured_alone_is_shown_beside_the_fleet(lab: Lab) -> None:
    def gemm(*rates: float) -> dict[str, float]:
        return {f"gpu-{n}|NVIDIA H200|bf16_tflops": rate for n, rate in enumerate(rates)}

    lab.agents.says = lambda node, order: gemm(780.0, 790.0) | {"about|driver|580.65": 0.0}
    nodes = "n3,n4,n5,n6"
    first = probe("gemm", "--nodes", nodes)
    assert "too few have measured NVIDIA H200 bf16_tflops (0 other nodes so far)" in first.stdout
    assert "driver" not in first.stdout, "a word is no figure"
    lab.cluster.tell(lab.learned[-1])
    lab.cluster.tell(NodeJoined(lab.cluster.now, NodeId("n7"), "10.0.0.7", 1, 2, "boot"))
    lab.agents.says = lambda node, order: gemm(650.0, 790.0) | {"about|driver|580.65": 0.0}
    result = probe("gemm", "--nodes", "n7")
    assert result.exit_code == 3, result.output
    assert "behind the fleet: n7 gpu-0: bf16_tflops 650, the fleet 785 (MAD 5, 4 nodes)\n" in result.stdout
    assert "as the fleet has it: 1 figure, of 4 other nodes\n" in result.stdout
    assert "warning: n7 gpu-0: gpu-0 is slow: bf16_tflops 650, the fleet 785" in result.stdout
    lab.agents.says = lambda node, order: gemm(650.0, 660.0) | {"about|driver|590.1": 0.0}
    result = probe("gemm", "--nodes", "n7")
    assert result.exit_code == 0, result.output
    assert "too few others have its driver and libraries, which may be why" in result.stdout


def test_a_job_is_disturbed_only_when_told_so(lab: Lab) -> None:
    refused = probe("pair", "--nodes", "n1,n2,n3")
    assert refused.exit_code == 1
    assert "moe has rank 0 on n1, rank 1 on n2: it would measure beside that for up to 45 s" in refused.stderr
    assert lab.learned == []
    result = probe("pair", "--nodes", "n1,n2", "--nodes", "n3", "--disturb", "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["nodes"] == ["n1", "n2", "n3"]
    assert {each["node"] for each in said["samples"] if each["busy"]} == {"n1", "n2"}


def test_a_hyphen_is_as_good_as_an_underscore(lab: Lab) -> None:
    result = probe("all-reduce", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["check"] == "all_reduce"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        pytest.param(["ring"], "no check 'ring' is run by several nodes: ", id="no such check"),
        pytest.param(["gpu"], "no check 'gpu' is run by several nodes: ", id="a node's own check"),
        pytest.param(["pair", "--nodes", "n9"], "no node 'n9': known are n1, ", id="no such node"),
        pytest.param(["pair", "--nodes", "n3"], "pair can't be measured on n3", id="too few"),
    ],
)
@pytest.mark.usefixtures("lab")
def test_what_makes_no_sense_is_refused_in_one_line(words: list[str], why: str) -> None:
    result = probe(*words)
    assert (result.exit_code, why in result.stderr) == (1, True), result.output
    assert result.stderr.count("\n") == 1


def test_one_probe_at_a_time(lab: Lab) -> None:
    lab.agents.go.clear()
    first = threading.Thread(target=probe, args=("pair",))
    first.start()
    try:
        waits(lambda: lab.prober.view("by-hand-1") is not None)
        second = probe("pair")
        assert second.exit_code == 1
        assert "another probe is under way" in second.stderr
    finally:
        lab.agents.go.set()
        first.join()


def test_nodes_that_measure_nothing_are_said_and_nothing_is_ok(lab: Lab) -> None:
    lab.agents.says = lambda node, order: {"mb_per_s": float("nan")}
    result = probe("pair")
    assert result.exit_code == 1
    assert "not measured: n3: these are no measurements" in result.stdout


def test_who_gives_no_answer_is_named_and_nobody_is_cleared(lab: Lab) -> None:
    def says(node: NodeId, order: MeasureNow) -> dict[str, float]:
        if node == "n4":
            raise TimeoutError
        return GOOD

    lab.agents.says = says
    result = probe("pair")
    assert result.exit_code == 1, result.output
    assert "unknown: n4 network: n4 gave no answer, so nothing is known there" in result.stdout
    assert "nobody stands out" not in result.stdout


def test_a_measurement_that_breaks_off_is_ended_and_says_why(lab: Lab) -> None:
    def breaks(node: NodeId, order: MeasureNow) -> dict[str, float]:
        raise KeyError("a defect")

    lab.agents.says = breaks
    result = probe("pair")
    assert result.exit_code == 1
    assert "no opinion: KeyError: 'a defect'" in result.stdout
    assert lab.learned == []


def waits(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
