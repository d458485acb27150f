"""Pages of the past: a report of a time, a node's and a cause's history, an entry that folds its stacks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sample_cluster import T0, TOKEN, Cluster, an_incident, served

from sentinel.logbook import recording, tally_file
from sentinel.logbook.book import Logbook
from sentinel.logbook.judgement import Judged
from sentinel.logbook.stacks import fold
from sentinel.logbook.tally import Evicted, Proved, Spent, Watched
from sentinel.model.fact import Outcome
from sentinel.model.ids import HOUR_S, IncidentId, JobId, NodeId
from sentinel.web.app import create_app

INCIDENTS = Path(__file__).parents[1] / "incidents"
WEEK = {"since": "2026-03-01", "until": "2026-03-08"}
ID, NODE, MOE = IncidentId("INC-7"), NodeId("node-7"), JobId("moe")


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    found = Cluster(Logbook(tmp_path / "logbook"))
    found.book.write(an_incident())
    tally_file.append(
        found.book.folder,
        [
            Watched(T0 - HOUR_S, T0, 24),
            Spent(T0 - HOUR_S, T0, MOE, "training", 8),
            Spent(T0, T0 + 2.5, MOE, ID, 8),
            Evicted(T0 + 0.9, NODE, ID),
            Proved(T0 + 900.0, NODE, ID, "passed"),
        ],
    )
    found.lately = (Watched(T0, T0 + HOUR_S, 24), Judged(T0 + 9.0, ID, "not-cause", "<b>ann</b>"))
    return found


@pytest.fixture
def web(cluster: Cluster) -> Iterator[httpx.Client]:
    with served(create_app(cluster, cluster.command, TOKEN)) as client:
        yield client


def test_a_report_adds_up_what_is_written_and_what_is_not_yet(web: httpx.Client) -> None:
    found: dict[str, Any] = web.get("/api/report", params=WEEK).json()
    assert found["gpu_days"] == pytest.approx(2.0)
    assert [(each["cause"], each["count"]) for each in found["causes"]] == [("gpu-lost", 1)]
    assert found["total"]["gpu_hours_lost"] == pytest.approx(20.0 / HOUR_S)
    assert [each["verdict"] for each in found["evictions"]] == ["wrong"]
    assert [each["what"] for each in found["doubted"]] == ["not-cause"]


def test_a_reports_page_says_the_same(web: httpx.Client) -> None:
    page = web.get("/report", params=WEEK).text
    for part in (
        "2026-03-01 00:00 UTC to 2026-03-08 00:00 UTC",
        "moe trained 99.9% of 1 h 00 min",
        '<a href="/cause/gpu-lost"><code>gpu-lost</code></a>',
        '<a href="/node/node-7">node-7</a>',
        '<span class="tag bad">wrong</span>',
        "says &lt;b&gt;ann&lt;/b&gt;",
        "<title>2026-03-04: incidents: 1, pages: 0</title>",
        'value="2026-03-01"',
    ):
        assert part in page


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"since": "2026-03-08", "until": "2026-03-01"}, "before it begins"),
        ({"since": "yesterday"}, "expected 12h"),
        ({"zone": "Mars/<i>"}, "no time zone"),
        ({"since": "9" * 5000 + "d"}, "may have 100 characters"),
    ],
)
def test_a_time_without_sense_is_said_to_be_one(web: httpx.Client, asked: dict[str, str], said: str) -> None:
    page, document = web.get("/report", params=asked), web.get("/api/report", params=asked)
    assert (page.status_code, document.status_code) == (400, 400)
    assert said in page.text
    assert "<i>" not in page.text
    assert said in document.json()["error"]


def test_a_nodes_page_has_what_is_now_and_its_whole_history(web: httpx.Client) -> None:
    page = web.get("/node/node-7").text
    assert "<h1>node-7</h1>" in page
    assert ">ok</span>, 2 GPUs" in page
    assert '<a href="/logbook/INC-7">INC-7</a>' in page
    assert "passed every test, and nothing had been repaired" in page
    assert "<p>None.</p>" in web.get("/node/node-1").text


@pytest.mark.parametrize("path", ["/node/node-99", "/node/..%2Fx", "/cause/no-such", "/cause/A%20B"])
def test_what_nobody_knows_has_no_page(web: httpx.Client, path: str) -> None:
    answer = web.get(path)
    assert (answer.status_code, "Not found" in answer.text) == (404, True)


def test_a_causes_page_has_its_incidents_nodes_and_runbook(web: httpx.Client) -> None:
    page = web.get("/cause/gpu-lost").text
    for link in ("/logbook/INC-7", "/node/node-7", "/runbook/gpu-lost"):
        assert f'href="{link}"' in page


def test_the_logbook_is_searched_by_words_and_filters(web: httpx.Client) -> None:
    for query, found in {
        "fallen bus": True,
        "xid-7 node:node-7": True,
        "node:node-1": False,
        "cause:gpu-lost since:2026-03-04 until:2026-03-05": True,
        "cause:gpu-lost until:2026-03-04": False,
        '"': True,
    }.items():
        assert ("/logbook/INC-7" in web.get("/logbook", params={"q": query}).text) == found, query


@pytest.mark.parametrize("query", ["since:never", "node:", "until:2026-02-31"])
def test_a_filter_without_sense_is_said_to_be_one(web: httpx.Client, query: str) -> None:
    page, document = web.get("/logbook", params={"q": query}), web.get("/api/incidents", params={"q": query})
    assert (page.status_code, document.status_code) == (400, 400)
    assert f"{query}: expected" in page.text
    assert f"{query}: expected" in document.json()["error"]


def stacks(name: str) -> str:
    kept = recording.read((INCIDENTS / f"{name}.jsonl").read_text(), name)
    facts = (line.fact for line in kept.lines)
    found = next(fact for fact in facts if isinstance(fact, Outcome) and "/stacks/" in fact.action)
    return "\n\n".join(text.strip("\n") for text in found.data)


@pytest.mark.parametrize("name", ["rank-hang", "data-stall"])
def test_of_each_ranks_stacks_the_thread_that_trains_is_shown(name: str) -> None:
    text = stacks(name)
    found = fold(text)
    assert sorted(each.head.split(" (")[0] for each in found) == [f"rank {n}" for n in range(len(found))]
    assert all('"training"' in each.thread.partition("\n")[0] for each in found)
    assert all(each.left == each.others.count("Thread ") for each in found)
    kept = "".join(each.head + each.thread + each.others for each in found)
    assert sorted(kept.replace("\n", "")) == sorted(text.replace("\n", ""))


@pytest.mark.parametrize("text", ["", "Thread 1 (idle)", "rank 0 was there", "rank 0 (7): state Z"])
def test_what_is_no_dump_is_left_as_it_is(text: str) -> None:
    assert "".join(each.head + each.thread + each.others for each in fold(text)) in ("", text)


def test_an_entry_folds_stacks_and_what_is_long_and_links_its_sections(
    web: httpx.Client, cluster: Cluster
) -> None:
    (cluster.book.folder / "INC-7.md").write_text(
        f"# INC-7\n\n## What was done\n\n```text\n{stacks('rank-hang')}\n```\n\n"
        "```text\n" + "".join(f"line <{n}>\n" for n in range(40)) + "```\n"
    )
    page = web.get("/logbook/INC-7").text
    assert page.count("other threads</summary>") == 4
    assert page.count("reduce_scatter_single") == 4
    assert '<h2 id="what-was-done">' in page
    assert "<details><summary>16 more lines</summary><pre><code>line &lt;24&gt;" in page
    assert 'href="/node/node-7"' in page
    assert 'href="/cause/gpu-lost"' in page
