"""Whatever Slack does: every page arrives, in order per incident, none twice."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from depth import tries
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slack_process import SlackProcess, details, ids, page, slack_process

from sentinel.adapters.outbox import Outbox, Timing
from sentinel.adapters.slack import Slack
from sentinel.model.action import Page

TIMING = Timing(fallback_after=0.15, first_retry=0.02, longest_retry=0.05, refused_retry=0.05, poll=0.01)

trouble = st.builds(
    lambda mode, times: {"mode": mode, "times": times, "retry_after": 0.05, "error": "is_archived"},
    st.sampled_from(["ok", "429", "500", "error", "drop-reply", "drop-reply", "hold-reply", "silent"]),
    st.integers(1, 2),
)
moments = st.lists(
    st.tuples(st.sampled_from(["A", "B"]), st.booleans(), st.sampled_from([0.0, 0.0, 0.1]), st.booleans()),
    min_size=1,
    max_size=6,
)
"""(incident, with details, seconds until the next, outbox restarted after it)"""

runs = 0


@pytest.fixture(scope="module")
def server() -> Iterator[SlackProcess]:
    with slack_process() as process:
        yield process


def pages_of(episode: list[tuple[str, bool, float, bool]], run: int) -> list[Page]:
    revisions: dict[str, int] = {}
    pages = []
    for incident, detailed, _, _ in episode:
        revisions[incident] = revisions.get(incident, 0) + 1
        pages.append(page(f"{incident}{run}", revisions[incident], thread="details" if detailed else ""))
    return pages


async def deliver(
    path: Path, episode: list[tuple[str, bool, float, bool]], pages: list[Page], channels: list[Slack]
) -> set[str]:
    """Enqueue along the episode, with restarts, and run until the primary has everything."""
    reported: set[str] = set()
    box = Outbox(path, lambda action, ok, *_: reported.add(action) if ok else None, TIMING)
    run = asyncio.create_task(box.run(channels))
    for (_, _, seconds, restarted), each in zip(episode, pages, strict=True):
        box.enqueue(each)
        await asyncio.sleep(seconds)
        if restarted:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)
            run = asyncio.create_task(box.run(channels))
    async with asyncio.timeout(20):
        while box.waiting(channels[0].name) or len(reported) < len(pages):
            assert not run.done(), run
            await asyncio.sleep(0.01)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    box.close()
    return reported


def in_order(messages: list[dict[str, Any]], pages: list[Page], every: bool) -> None:
    """One message per incident, its revisions rising to the newest; each detail once, in order."""
    for incident in {each.incident for each in pages}:
        mine = [m for m in messages if ids(m)[0] == incident]
        roots = [m for m in mine if not m["thread_ts"]]
        assert len(roots) <= 1
        if every:
            assert ids(roots[0])[1] == max(p.revision for p in pages if p.incident == incident)
        edits = [e["metadata"]["event_payload"]["revision"] for m in roots for e in m["edits"]]
        assert edits == sorted(edits)
        posted = [revision for _, revision in details(mine)]
        expected = [p.revision for p in pages if p.incident == incident and p.thread]
        assert posted == expected if every else posted == sorted(set(posted))


@settings(max_examples=tries(20, 200), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(trouble, max_size=6), episode=moments)
def test_every_page_arrives_in_order_and_none_twice(
    server: SlackProcess, script: list[dict[str, Any]], episode: list[tuple[str, bool, float, bool]]
) -> None:
    global runs
    runs += 1
    pages = pages_of(episode, runs)
    channels = [Slack("xoxb-test", f"{name}{runs}", base_url=server.api, timeout=0.4) for name in ("P", "F")]
    server.control(*script)
    with TemporaryDirectory() as folder:
        reported = asyncio.run(deliver(Path(folder) / "outbox", episode, pages, channels))
    assert reported == {each.id for each in pages}
    in_order(server.messages(f"P{runs}"), pages, every=True)
    in_order(server.messages(f"F{runs}"), pages, every=False)
    for each in channels:
        each.close()
