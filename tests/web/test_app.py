"""The web server over a real socket: pages anybody may read, commands only with the token."""

import asyncio
import html
import http.client
import itertools
import re
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import product
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from sample_cluster import INCIDENT, QUIET, T0, TOKEN, TROUBLE, Cluster, an_incident, served

from sentinel.adapters.dispatcher import Standing
from sentinel.logbook.book import Logbook
from sentinel.model.ids import Cause
from sentinel.model.severity import Severity
from sentinel.runtime.counters import Counters
from sentinel.runtime.receiver_metrics import ReceiverMetrics
from sentinel.web import live
from sentinel.web.app import create_app
from sentinel.web.server import KEPT_FOR, TAKES_WITHIN
from sentinel.web.view import Command, Silence


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    return Cluster(Logbook(tmp_path / "logbook"))


@pytest.fixture
def web(cluster: Cluster) -> Iterator[httpx.Client]:
    registry = CollectorRegistry()
    registry.register(Counters([Cause("gpu-ecc")], (), lambda: (3, 0)))
    standing = Standing(2, True, {"delivered": 1, "failed": 0})
    registry.register(ReceiverMetrics(lambda: [("on-call", standing)]))
    app = create_app(cluster, cluster.command, TOKEN, registry)
    with served(app) as client:
        yield client


RIGHT = {"Authorization": f"Bearer {TOKEN}"}


def test_a_quiet_cluster_reads_as_well(web: httpx.Client) -> None:
    page = web.get("/").text
    assert "<h1>All is well</h1>" in page
    assert "moe is training with 8 of 8 ranks." in page
    assert "ranks 0-1" in page


def test_an_open_incident_is_the_headline(web: httpx.Client, cluster: Cluster) -> None:
    cluster.now = TROUBLE
    page = web.get("/").text
    assert "<h1>GPU fell off the bus: node-3 gpu-1 (rank 5)</h1>" in page
    assert "not acknowledged" in page
    assert "no report for 12 s" in page


def test_the_fragment_is_what_the_page_shows(web: httpx.Client) -> None:
    assert web.get("/fragment").text.strip() in web.get("/").text


def test_what_changes_is_streamed(web: httpx.Client, cluster: Cluster) -> None:
    with web.stream("GET", "/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(lines) == "retry: 500"
        first = _next_event(lines)
        assert first.strip() in web.get("/").text
        cluster.now = TROUBLE
        while (told := _next_event(lines)) == first:
            pass
        assert "<h1>GPU fell off the bus: node-3 gpu-1 (rank 5)</h1>" in told


def _next_event(lines: Iterator[str]) -> str:
    data = itertools.dropwhile(lambda line: not line, lines)
    event = list(itertools.takewhile(bool, data))
    assert all(line.startswith("data:") for line in event)
    return "\n".join(line.removeprefix("data: ") for line in event)


def test_a_stream_ends_before_its_connection_would_be_cut(
    web: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert live.LASTS + KEPT_FOR < TAKES_WITHIN
    monkeypatch.setattr(live, "LASTS", 0.0)
    assert web.get("/events").text == "retry: 500\n\n"


def test_an_entry_begins_with_the_stages_that_it_came_to(web: httpx.Client, cluster: Cluster) -> None:
    cluster.book.write(an_incident())
    page = web.get("/logbook/INC-7").text
    assert re.findall(r"<li><b>([a-z ]+)</b>(\S+ s)", page) == [
        ("seen", "+0.00 s"),
        ("first new step", "+2.50 s"),
    ]


def test_no_page_loads_anything_from_elsewhere(web: httpx.Client, cluster: Cluster) -> None:
    cluster.book.write(an_incident())
    for path in ("/", "/logbook", "/logbook/INC-7", "/network", "/static/style.css", "/static/refresh.js"):
        answer = web.get(path)
        assert answer.status_code == 200
        assert "http://" not in answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in answer.text
        assert " style=" not in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_names_from_the_cluster_are_escaped(web: httpx.Client, cluster: Cluster) -> None:
    bad = replace(TROUBLE.nodes[2], node="<script>alert(1)</script>")
    cluster.now = replace(TROUBLE, nodes=(bad,))
    page = web.get("/").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    searched = web.get("/logbook", params={"q": '"><script>alert(1)</script>'}).text
    assert "<script>alert" not in searched


def test_the_logbook_is_searched(web: httpx.Client, cluster: Cluster) -> None:
    cluster.book.write(an_incident())
    assert "/logbook/INC-7" in web.get("/logbook", params={"q": "node-7 xid"}).text
    assert "Nothing was found." in web.get("/logbook", params={"q": "node-8 nothing"}).text


def test_an_entry_is_rendered_and_a_missing_one_is_a_page(web: httpx.Client, cluster: Cluster) -> None:
    cluster.book.write(an_incident())
    assert '<h2 id="evidence">Evidence</h2>' in web.get("/logbook/INC-7").text
    for path in ("/logbook/INC-99", "/logbook/..%2findex", f"/logbook/{'a' * 300}", "/nothing"):
        answer = web.get(path)
        assert answer.status_code == 404
        assert "<h1>Not found</h1>" in answer.text


def test_every_page_looks_at_the_state_in_the_thread_that_changes_it(
    web: httpx.Client, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking: set[int] = set()
    look = cluster.status
    monkeypatch.setattr(cluster, "status", lambda: looking.add(threading.get_ident()) or look())
    for path in ("/", "/fragment", "/api/status", "/api/incidents", "/metrics", "/healthz"):
        assert web.get(path).is_success
    assert len(looking) == 1


def test_metrics_parse_and_name_every_health(web: httpx.Client, cluster: Cluster) -> None:
    cluster.now = TROUBLE
    families = {family.name: family for family in text_string_to_metric_families(web.get("/metrics").text)}
    nodes = {sample.labels["health"]: sample.value for sample in families["sentinel_nodes"].samples}
    assert nodes == {"ok": 9, "warning": 1, "critical": 1, "unknown": 1, "skipped": 0}
    opened = {
        (each.labels["stage"], each.labels["severity"]): each.value
        for each in families["sentinel_open_incidents"].samples
    }
    assert opened == {
        **dict.fromkeys(product(("open", "mitigating"), Severity), 0),
        ("mitigating", "warning"): 1,
    }
    assert families["sentinel_job_step"].samples[0].value == 1234
    assert families["sentinel_reports_refused"].samples[0].value == 3
    assert all(name.startswith("sentinel_") for name in families)
    clusters = {sample.labels["cluster"] for family in families.values() for sample in family.samples}
    assert clusters == {"cluster-a"}


def test_a_runbook_is_read_by_its_cause_and_nothing_else_is(web: httpx.Client) -> None:
    page = web.get("/runbook/gpu-lost")
    assert page.status_code == 200
    assert ">A GPU fell off the bus</h1>" in page.text
    assert ">Meaning</h2>" in page.text
    for other in ("nope", "..%2Fsecurity", "__init__"):
        assert web.get(f"/runbook/{other}").status_code == 404


def test_silences_and_what_a_drain_waits_for_are_on_the_page(web: httpx.Client, cluster: Cluster) -> None:
    node = replace(TROUBLE.nodes[2], full="moe has rank 5 there")
    silence = Silence("throttle", T0 + 3600)
    asked = Silence("n2", T0 + 3600, "ann", "<fans>")
    nodes = (*TROUBLE.nodes[:2], node, *TROUBLE.nodes[3:])
    cluster.now = replace(TROUBLE, nodes=nodes, silences=(silence, asked))
    page = web.get("/").text
    assert "not empty yet: moe has rank 5 there" in page
    assert "Silenced until 03-04 06:06 UTC: throttle." in page
    assert "Silenced until 03-04 06:06 UTC: n2 (ann: &lt;fans&gt;)." in page


def test_the_status_is_there_as_json_even_with_a_loss_that_is_no_number(
    web: httpx.Client, cluster: Cluster
) -> None:
    cluster.now = replace(TROUBLE, jobs=(replace(TROUBLE.jobs[0], losses=((1, 2.5), (2, float("nan")))),))
    status = web.get("/api/status").json()
    assert status["jobs"][0]["losses"] == [[1, 2.5], [2, None]]
    assert web.get("/").status_code == 200
    assert web.get("/metrics").status_code == 200


def test_incidents_are_there_as_json(web: httpx.Client, cluster: Cluster) -> None:
    cluster.now = TROUBLE
    cluster.book.write(an_incident())
    found = web.get("/api/incidents").json()
    assert [incident["incident"] for incident in found["open"]] == ["INC-7"]
    assert found["logbook"][0]["steps_lost"] == 1
    assert web.get("/api/incidents", params={"q": "nowhere"}).json()["logbook"] == []


def test_healthz_answers(web: httpx.Client) -> None:
    assert web.get("/healthz").text == "ok\n"


@pytest.mark.parametrize(
    ("name", "body", "asked"),
    [
        pytest.param(
            "ack", {"target": "INC-7", "who": "ada"}, Command("ack", "INC-7", "ada"), id="acknowledge"
        ),
        pytest.param(
            "silence",
            {"target": "node-7", "for_s": 3600},
            Command("silence", "node-7", for_s=3600.0),
            id="silence",
        ),
        pytest.param(
            "maintain",
            {"target": "node-7", "for_s": 3600},
            Command("maintain", "node-7", for_s=3600.0),
            id="maintain",
        ),
        pytest.param(
            "drain",
            {"target": "node-7", "reason": "new fan"},
            Command("drain", "node-7", reason="new fan"),
            id="drain",
        ),
        pytest.param("undrain", {"target": "node-7"}, Command("undrain", "node-7"), id="undrain"),
        pytest.param("stop-actions", {}, Command("stop-actions"), id="stop actions"),
        pytest.param("resume-actions", {}, Command("resume-actions"), id="resume actions"),
        pytest.param("stop-job", {"target": "moe"}, Command("stop-job", "moe"), id="stop a job"),
    ],
)
def test_commands_are_carried_out_with_the_token(
    web: httpx.Client, cluster: Cluster, name: str, body: dict[str, object], asked: Command
) -> None:
    answer = web.post(f"/api/{name}", json=body, headers=RIGHT)
    assert answer.status_code == 200
    assert answer.json() == {"done": f"{asked.command} {asked.target}".strip()}
    assert cluster.asked == [asked]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Authorization": "Bearer wrong"}, id="wrong"),
        pytest.param({"Authorization": f"Basic {TOKEN}"}, id="wrong scheme"),
        pytest.param({"Authorization": "Bearer"}, id="empty"),
    ],
)
def test_no_command_without_the_token(web: httpx.Client, cluster: Cluster, headers: dict[str, str]) -> None:
    answer = web.post("/api/drain", json={"target": "node-7"}, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json() == {"error": "a command needs the right token: Authorization: Bearer TOKEN"}
    assert cluster.asked == []


LONG = 64 * 1024 + 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Content-Length": str(10**12)}, 401, id="no token"),
        pytest.param({**RIGHT, "Content-Length": str(LONG)}, 413, id="too long"),
        pytest.param({**RIGHT, "Transfer-Encoding": "chunked"}, 411, id="of unknown length"),
        pytest.param(RIGHT, 411, id="no length"),
    ],
)
def test_a_command_is_refused_before_its_body_is_read(
    web: httpx.Client, cluster: Cluster, headers: dict[str, str], status: int
) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", web.base_url.port, timeout=10)) as connection:
        connection.putrequest("POST", "/api/drain")
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()  # and nothing of the body: an answer shows that nobody waits for it
        answer = connection.getresponse()
        assert answer.status == status
        assert answer.headers["connection"] == "close"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert cluster.asked == []


def test_the_answer_is_what_the_status_page_says_first(web: httpx.Client) -> None:
    answer = web.get("/api/answer").json()
    assert answer["headline"] in html.unescape(web.get("/").text)
    assert set(answer) == {"cluster", "level", "headline", "details"}


def test_what_is_no_character_is_refused(web: httpx.Client, cluster: Cluster) -> None:
    body = b'{"target": "node-7", "reason": "\\ud800"}'
    assert web.post("/api/drain", content=body, headers=RIGHT).status_code == 422
    assert cluster.asked == []


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        pytest.param("drain", {}, 422, "drain needs a target", id="no target"),
        pytest.param("maintain", {"target": "a"}, 422, "maintain needs for_s", id="maintained for ever"),
        pytest.param("silence", {"target": "a"}, 422, "silence needs for_s", id="silence for ever"),
        pytest.param("not-node", {"target": "I-1"}, 422, "not-node needs a reason", id="no reason"),
        pytest.param("drain", {"target": "a", "x": 1}, 422, "x: Extra inputs", id="unknown key"),
        pytest.param("drain", {"target": 7}, 422, "target: Input should be a valid string", id="wrong type"),
        pytest.param("reboot", {}, 422, "name: Input should be 'ack'", id="unknown command"),
        pytest.param("drain", {"target": "node-99"}, 409, "no node 'node-99'", id="refused"),
    ],
)
def test_a_bad_command_is_a_one_line_error(
    web: httpx.Client, cluster: Cluster, path: str, body: dict[str, object], status: int, error: str
) -> None:
    answer = web.post(f"/api/{path}", json=body, headers=RIGHT)
    assert answer.status_code == status
    assert answer.json()["error"].startswith(error)
    assert "\n" not in answer.json()["error"]
    assert cluster.asked == []


def test_an_empty_token_lets_nobody_in(cluster: Cluster) -> None:
    app = create_app(cluster, cluster.command, "")
    transport = httpx.ASGITransport(app)

    async def ask() -> int:
        async with httpx.AsyncClient(transport=transport, base_url="http://sentinel") as client:
            answer = await client.post("/api/stop-actions", json={}, headers={"Authorization": "Bearer "})
            return answer.status_code

    assert asyncio.run(ask()) == 401


def test_an_incident_shows_what_was_told_before_and_what_is_left(web: httpx.Client, cluster: Cluster) -> None:
    named, left = "First: rank-crash (0.3 s after it was seen)", "node-3 is out and awaits repair"
    incident = replace(TROUBLE.incidents[0], earlier=(named,), left=(left,))
    cluster.now = replace(TROUBLE, incidents=(incident,), left=(left,))
    page = web.get("/").text
    assert named in page
    assert f"Left: {left}" in page
    answer = web.get("/api/status").json()
    assert (answer["left"], answer["incidents"][0]["earlier"]) == ([left], [named])


@pytest.mark.parametrize(
    ("seconds", "opened", "stage"),
    [
        pytest.param(60, [], "over", id="its end was not written, or its journal is gone"),
        pytest.param(60, ["INC-7"], "open", id="it is open still"),
        pytest.param(-1, [], "open", id="it was opened since we looked"),
    ],
)
def test_an_incident_without_an_end_is_said_to_be_open_only_while_it_is(
    web: httpx.Client, cluster: Cluster, seconds: float, opened: list[str], stage: str
) -> None:
    cluster.book.write(an_incident())
    views = tuple(replace(INCIDENT, incident=name) for name in opened)
    cluster.now = replace(QUIET, now=T0 + seconds, incidents=views)
    assert web.get("/api/incidents").json()["logbook"][0]["stage"] == stage
    assert f">{stage}</span>" in web.get("/logbook").text
