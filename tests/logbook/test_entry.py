"""Logbook entries: what an on-call person reads about an incident, and finds again."""

import dataclasses
import json
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from msgspec.structs import replace

from sentinel.logbook.book import Logbook
from sentinel.logbook.entry import gpu_seconds_lost, render, row
from sentinel.model.action import CollectStacks, Evict, Page, Refusal, Resume, Seat, action_id
from sentinel.model.fact import Fact, FindingReported, JobStalled, Outcome, RankExited, RankRaised
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import Cause, IncidentId, JobId, NodeId, WorkerId
from sentinel.model.incident import UNKNOWN, Blame, Diagnosis, Incident, PagedDiagnosis, Stage, Suspect
from sentinel.model.journal import Line
from sentinel.model.runbook import PageWhen, Remedy, Runbook
from sentinel.redact import redact

T0 = 1_772_600_767.25
"""2026-03-04 05:06:07.25 UTC"""
ID = IncidentId("INC-7")
NODE, JOB = NodeId("node-7"), JobId("moe")
BOOK = Runbook(
    Cause("gpu-lost"), "GPU fell off the bus", (), Blame.NODE, Remedy.EVICT, PageWhen.AT_ONCE, confidence=0.95
)
SEATS = tuple(Seat(rank, WorkerId(f"w{rank}"), NodeId(f"node-{rank}"), 0) for rank in range(4))
XID = Finding(
    "xid",
    "xid-79",
    "gpu-3",
    Health.CRITICAL,
    "GPU has fallen off the bus",
    {"line": "NVRM: Xid 79"},
    event=True,
)


def incident() -> Incident:
    evict = Evict(action_id(ID, "evict", NODE, 1), ID, NODE, "its GPU 3 is lost")
    return Incident(
        id=ID,
        opened=T0,
        job=JOB,
        stage=Stage.RESOLVED,
        diagnosis=Diagnosis(
            Cause("gpu-lost"), (Suspect(NODE, 29, 3, 0.95),), 0.95, "Xid 79 on gpu-3, then rank 29 ended"
        ),
        evidence=(
            FindingReported(T0, NODE, XID),
            RankExited(T0 + 0.1, JOB, 29, WorkerId("w29"), NODE, 3, 4711, 11, "signal 9"),
            Outcome(T0 + 0.9, evict.id, ok=True, detail="cordoned"),
        ),
        actions=(
            evict,
            Page(action_id(ID, "page", "on-call", 1), ID, 1, "GPU fell off the bus: node-7", "…", "open"),
            Resume(action_id(ID, "resume", JOB, 1), ID, JOB, 12, SEATS),
            Refusal(action_id(ID, "refuse", "node-8", 1), ID, "evict node-8", "no spare is left"),
        ),
        times={
            "detected": T0,
            "diagnosed": T0 + 0.3,
            "paged": T0 + 0.5,
            "evicted": T0 + 0.9,
            "new_step": T0 + 2.5,
            "resolved": T0 + 2.5,
        },
        acked_by="ada",
        steps_lost=1,
    )


def test_an_entry_says_what_where_why_and_what_it_cost() -> None:
    text = render(incident(), runbook=BOOK)
    assert text.startswith("# INC-7: GPU fell off the bus\n")
    for part in (
        "**node-7 gpu-3 (rank 29)** is blamed. Xid 79 on gpu-3, then rank 29 ended",
        "| Opened | 2026-03-04 05:06:07 UTC |",
        "| Steps lost | 1 |",
        "| GPU-seconds lost | 10.0 |",
        "| Acknowledged by | ada |",
        "| page sent | +0.50 s |",
        "| first new step | +2.50 s |",
        "**+0.10 s** rank 29 on node-7 gpu-3 ended: signal 9 (pid 4711)",
        "```text\nline: NVRM: Xid 79\n```",
        "1. evict node-7: its GPU 3 is lost. *done at +0.90 s: cordoned*",
        "2. resume moe as generation 12 with 4 ranks on 4 nodes",
        "- evict node-8: no spare is left",
    ):
        assert part in text


def test_a_recording_tells_when_each_action_was_decided() -> None:
    opened = incident()
    lines = [Line(9, opened.evidence[1], (opened.actions[0],), "p", "r")]
    assert "1. **+0.10 s** evict node-7" in render(opened, lines, BOOK)


def test_an_entry_tells_when_each_thing_was_decided_and_what_was_told_before() -> None:
    first = PagedDiagnosis(
        T0 + 0.2, Diagnosis(Cause("rank-crash"), (Suspect(NODE, 29),), 0.6, "rank 29 ended")
    )
    decided = (T0 + 0.3, T0 + 0.4, T0 + 0.8)  # an older release did not say when the first one was
    text = render(replace(incident(), decided=decided, diagnoses=(first,)), runbook=BOOK)
    for part in (
        "1. evict node-7",
        "2. **+0.40 s** resume moe",
        "- **+0.80 s** evict node-8: no spare is left",
        "First: rank-crash, node-7 (rank 29) (said 0.2 s after it was seen): rank 29 ended",
    ):
        assert part in text


def with_evidence(opened: Incident, fact: Fact) -> Incident:
    return replace(opened, evidence=(*opened.evidence, fact))


def test_an_undiagnosed_incident_blames_nobody() -> None:
    found = Incident(ID, T0, evidence=(FindingReported(T0, NODE, XID),))
    assert "No cause is known yet." in render(found)
    assert (row(found).where, row(found).suspects) == (NODE, ())
    text = render(replace(found, stage=Stage.RESOLVED))
    assert "# INC-7: not diagnosed" in text
    assert "nobody is blamed and nothing was evicted" in text
    assert "Nobody was paged." in text
    assert "| GPU-seconds lost | none known |" in text


def test_gpu_seconds_are_unknown_without_a_new_step() -> None:
    opened = incident()
    times = {name: at for name, at in opened.times.items() if name != "new_step"}
    opened = replace(opened, times=times)
    assert gpu_seconds_lost(opened) is None


def test_a_job_that_stalled_lost_its_gpus_before_anybody_saw_it() -> None:
    opened = incident()
    opened = with_evidence(opened, JobStalled(T0, JOB, 11, 3.5, 0.1, (), ()))
    assert gpu_seconds_lost(opened) == 4 * (3.5 + 2.5)


def test_stacks_are_kept_in_code_blocks_that_nothing_inside_can_close() -> None:
    opened = incident()
    collect = CollectStacks(action_id(ID, "stacks", JOB, 1), ID, ((NODE, 29, 4711),), 2.0)
    opened = replace(opened, actions=(*opened.actions, collect))
    opened = with_evidence(
        opened, Outcome(T0 + 0.2, collect.id, True, "", ("rank 29\n```\n# not a heading", "rank 3"))
    )
    text = render(opened)
    assert "````text\nrank 29\n```\n# not a heading\n\nrank 3\n````" in text


def test_foreign_text_stays_text() -> None:
    opened = incident()
    error = "TypeError: a|b <script>alert(1)</script> [x](http://evil)\nsecond line"
    opened = with_evidence(
        opened, RankRaised(T0, JOB, 1, WorkerId("w1"), NODE, 0, 1, 11, 5, "user", error, "Traceback")
    )
    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(render(opened))
    assert "<script" not in html
    assert "<a " not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt; [x](http://evil) second line" in html


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        pytest.param("token: xoxb-12345678-abcdefgh", "token: [hidden]", id="slack token"),
        pytest.param("Authorization: Bearer abc.def", "Authorization: Bearer [hidden]", id="bearer"),
        pytest.param("redis://user:hunter22@head:6379", "redis://user:[hidden]@head:6379", id="url"),
        pytest.param("DB_PASSWORD=hunter22 x=1", "DB_PASSWORD=[hidden] x=1", id="environment"),
        pytest.param("key AKIAABCDEFGHIJKLMNOP", "key [hidden]", id="aws"),
        pytest.param("hf_abcdefghijklmnopqrst", "[hidden]", id="hub token"),
        pytest.param("CUDA error: 999 at tokens.py:12", "CUDA error: 999 at tokens.py:12", id="no secret"),
        pytest.param("tcp://10.0.0.1:5555 step 12", "tcp://10.0.0.1:5555 step 12", id="address"),
    ],
)
def test_secrets_are_hidden(text: str, clean: str) -> None:
    assert redact(text) == clean


def test_an_entry_hides_secrets_in_its_evidence(tmp_path: Path) -> None:
    opened = incident()
    opened = with_evidence(
        opened,
        RankRaised(
            T0,
            JOB,
            1,
            WorkerId("w1"),
            NODE,
            0,
            1,
            11,
            5,
            "user",
            "KeyError",
            "export HF_TOKEN=abcdefgh12345678",
        ),
    )
    book = Logbook(tmp_path)
    path = book.write(opened)
    assert "abcdefgh12345678" not in path.read_text() + (tmp_path / "index.jsonl").read_text()


def test_the_newest_entry_of_an_incident_counts(tmp_path: Path) -> None:
    book = Logbook(tmp_path)
    early = replace(incident(), stage=Stage.OPEN)
    book.write(early, runbook=BOOK)
    book.write(incident(), runbook=BOOK)
    (found,) = Logbook(tmp_path).rows()
    assert (found.stage, found.evicted, found.steps_lost) == ("resolved", ("node-7",), 1)
    assert book.entry("INC-7") == render(incident(), runbook=BOOK)


def test_the_highest_number_is_that_of_the_newest_incident_with_an_entry(tmp_path: Path) -> None:
    book = Logbook(tmp_path)
    assert book.highest() == 0
    for number in (9, 12, 3):
        (tmp_path / f"I-{number:04d}.md").write_text("an entry")
    (tmp_path / "I-x.md").write_text("none of ours")
    assert book.highest() == 12


def test_an_index_of_outdated_rows_is_tidied_when_opened(tmp_path: Path) -> None:
    book = Logbook(tmp_path)
    for _ in range(20):
        book.write(incident())
    book.write(Incident(IncidentId("INC-8"), T0 + 60))
    before = book.rows()
    assert Logbook(tmp_path).rows() == before
    assert len((tmp_path / "index.jsonl").read_text().splitlines()) == 2


def test_a_search_finds_incidents_by_all_their_words(tmp_path: Path) -> None:
    book = Logbook(tmp_path)
    book.write(incident(), runbook=BOOK)
    book.write(Incident(IncidentId("INC-8"), T0 + 60))
    assert [found.incident for found in book.search("")] == ["INC-8", "INC-7"]
    assert [found.incident for found in book.search("XID node-7")] == ["INC-7"]
    assert [found.incident for found in book.search("xid node-9")] == []


def test_a_torn_index_line_costs_one_row_and_no_other(tmp_path: Path) -> None:
    book = Logbook(tmp_path)
    book.write(incident())
    with (tmp_path / "index.jsonl").open("a") as index:
        index.write('{"incident": "INC-8", "ope')
    book.write(Incident(IncidentId("INC-9"), T0 + 60))
    assert [found.incident for found in book.rows()] == ["INC-9", "INC-7"]
    assert json.loads((tmp_path / "index.jsonl").read_text().splitlines()[-1])["incident"] == "INC-9"


@pytest.mark.parametrize("name", ["../secrets", "..", ".INC-7.md.new", "a/b", "INC-99"])
def test_only_entries_can_be_asked_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "secrets.md").write_text("x")
    assert Logbook(tmp_path / "logbook").entry(name) is None


def test_a_cause_that_nobody_knows_is_not_called_named() -> None:
    known = replace(incident(), times={"detected": T0, "diagnosed": T0 + 1.0})
    assert known.diagnosis is not None
    unknown = replace(known, diagnosis=dataclasses.replace(known.diagnosis, cause=UNKNOWN))
    assert "| cause named | +1.00 s |" in render(known, runbook=BOOK)
    assert "| not diagnosed | +1.00 s |" in render(unknown)
    assert "cause named" not in render(unknown)


def test_what_a_resume_did_is_told_once() -> None:
    whole = incident()
    resume = action_id(ID, "resume", JOB, 1)
    done = Outcome(
        T0 + 0.5, resume, ok=True, detail="restored step 698 from memory", data=("lost 0", "restored")
    )
    assert "## Collected" not in render(replace(whole, evidence=(*whole.evidence, done)))
    failed = replace(done, ok=False, data=("rank 3: no such file",))
    assert "rank 3: no such file" in render(replace(whole, evidence=(*whole.evidence, failed)))
