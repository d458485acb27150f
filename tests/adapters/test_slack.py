"""The Slack channel and its message format, against the local server."""

import asyncio
import socket
from collections.abc import Iterator

import pytest
from slack_process import SlackProcess, ids, page, slack_process

from sentinel.adapters.page_channel import UNNAMED, Sender
from sentinel.adapters.slack import Slack, SlackError
from sentinel.adapters.slack_message import BLOCK_CHARS, HEADER_CHARS, blocks, detail_text, fallback_text

BLUE = Sender("blue", "http://head")


@pytest.fixture
def channel(slack: SlackProcess) -> Iterator[Slack]:
    channel = Slack("xoxb-test", "C1", base_url=slack.api, timeout=0.4, sender=BLUE)
    yield channel
    channel.close()


@pytest.mark.parametrize(
    ("behaviour", "permanent", "unsure", "retry_after"),
    [
        pytest.param({"mode": "error", "error": "channel_not_found"}, True, False, None, id="no channel"),
        pytest.param({"mode": "error", "error": "invalid_auth"}, True, False, None, id="bad token"),
        pytest.param({"mode": "error", "error": "is_archived"}, True, False, None, id="archived"),
        pytest.param({"mode": "error", "error": "fatal_error"}, False, True, None, id="half done"),
        pytest.param({"mode": "429", "retry_after": 7}, False, False, 7.0, id="rate limited"),
        pytest.param({"mode": "500"}, False, True, None, id="server error"),
        pytest.param({"mode": "silent"}, False, True, None, id="no reply"),
        pytest.param({"mode": "drop-reply"}, False, True, None, id="connection dropped"),
    ],
)
def test_an_error_says_whether_to_try_again(
    slack: SlackProcess,
    channel: Slack,
    behaviour: dict[str, object],
    permanent: bool,
    unsure: bool,
    retry_after: float | None,
) -> None:
    slack.control(behaviour)
    with pytest.raises(SlackError) as caught:
        asyncio.run(channel.open(page("INC-1", 1)))
    error = caught.value
    assert (error.permanent, error.unsure, error.retry_after) == (permanent, unsure, retry_after)
    assert len(slack.requests()) == 1, "the library tried again by itself"


def test_a_refused_connection_was_surely_not_a_post() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    channel = Slack("xoxb-test", "C1", base_url=f"http://127.0.0.1:{port}/api/")
    with pytest.raises(SlackError) as caught:
        asyncio.run(channel.open(page("INC-1", 1)))
    assert not caught.value.unsure
    channel.close()


def test_a_look_up_pages_through_the_history_and_skips_details_and_others(
    slack: SlackProcess, channel: Slack
) -> None:
    async def talk() -> tuple[str, tuple[str, int] | None, bool, bool, object]:
        first = page("INC-1", 3, thread="details")
        ref = await channel.open(first)
        await channel.detail(first, ref)
        for number in range(201):
            slack.http.post(
                f"{slack.api}chat.postMessage",
                json={"channel": "C1", "text": f"chatter {number}"},
                headers={"Authorization": "Bearer someone"},
            )
        since = slack.messages()[0]["at"]
        found = await channel.find(first, since)
        details = await channel.find_detail(first, ref), await channel.find_detail(page("INC-1", 4), ref)
        return ref, found, *details, await channel.find(page("INC-2", 1), since)

    ref, found, first, second, other = asyncio.run(talk())
    assert (found, first, second, other) == ((ref, 3), True, False, None)


def test_two_clusters_in_one_channel_are_told_apart_by_people_and_by_look_ups(slack: SlackProcess) -> None:
    blue, green = (
        Slack("xoxb-test", "C1", base_url=slack.api, timeout=0.4, sender=Sender(name, "http://head"))
        for name in ("blue", "green")
    )
    first = page("I-0001", 1, thread="details")

    async def talk() -> None:
        ref = await blue.open(first)
        await blue.detail(first, ref)
        assert await green.find(first, 1000.0) is None
        other = await green.open(first)
        assert (await blue.find(first, 1000.0), await green.find(first, 1000.0)) == ((ref, 1), (other, 1))
        assert (await blue.find_detail(first, ref), await green.find_detail(first, ref)) == (True, False)

    asyncio.run(talk())
    titles = [message["text"].splitlines()[0] for message in slack.messages() if not message.get("thread_ts")]
    assert titles == [f"🔴 FIRING {name}: gpu-off-bus on node-7 r1" for name in ("blue", "green")]
    blue.close()
    green.close()


def test_a_channel_given_by_name_is_edited_and_looked_through_by_its_id(slack: SlackProcess) -> None:
    first, second = page("INC-1", 1, thread="details"), page("INC-1", 2, stage="resolved")

    async def talk(channel: Slack) -> None:
        ref = await channel.open(first)
        await channel.edit(second, ref)
        restarted = Slack("xoxb-test", "#oncall", base_url=slack.api)
        assert await restarted.find(first, 1000.0) == (ref, 2)
        await restarted.detail(first, ref)
        assert await restarted.find_detail(first, ref)
        restarted.close()
        stranger = Slack("xoxb-test", "#nowhere", base_url=slack.api)
        with pytest.raises(SlackError, match="channel_not_found") as caught:
            await stranger.edit(second, ref)
        assert caught.value.permanent
        stranger.close()

    channel = Slack("xoxb-test", "#oncall", base_url=slack.api)
    asyncio.run(talk(channel))
    channel.close()


def test_the_message_names_stage_cause_and_where_to_read_on(slack: SlackProcess, channel: Slack) -> None:
    asyncio.run(channel.open(page("INC-1", 1, "mitigating", body="cause gpu-off-bus\nevicting node-7")))
    (message,) = slack.messages()
    header, body, context = message["blocks"]
    assert header["text"]["text"] == "🟡 MITIGATING blue: gpu-off-bus on node-7 r1"
    assert body["text"]["text"] == "cause gpu-off-bus\nevicting node-7"
    link = "<http://head/logbook/INC-1|logbook entry>"
    assert context["elements"][0]["text"] == f"incident blue/INC-1 · revision 1 · {link}"
    assert message["text"].startswith("🟡 MITIGATING blue: gpu-off-bus")
    assert message["metadata"] == {
        "event_type": "sentinel_incident",
        "event_payload": {"cluster": "blue", "incident": "INC-1", "revision": 1},
    }
    assert ids(message) == ("INC-1", 1)


@pytest.mark.parametrize(
    ("lines", "lead", "rest"),
    [
        (["Cause: x", "Asked of you: nothing"], "*You:* nothing", ["Cause: x"]),
        (
            ["Left: n1 awaits repair", "Did: evict n1", "Did: resume", "Asked of you: what is left, above"],
            "*Done:* evict n1, resume   *You:* n1 awaits repair",
            [],
        ),
        (
            ["Left: a <b>", "Left: c", "Failed: evict n1: no answer", "Why: d", "Asked of you: what is left"],
            "*Done:* FAILED: evict n1: no answer   *You:* a &lt;b&gt; (and 1 more)",
            ["Left: a &lt;b&gt;", "Left: c", "Why: d"],
        ),
    ],
)
def test_the_first_line_says_what_was_done_and_what_is_asked(
    lines: list[str], lead: str, rest: list[str]
) -> None:
    made = page("INC-1", 1, body="\n".join(lines))
    first, *others = [block["text"]["text"] for block in blocks(made, BLUE) if block["type"] == "section"]
    assert first == lead
    assert [line for each in others for line in each.splitlines()] == rest
    said = fallback_text(made, BLUE).splitlines()[0]
    told = lead.replace("*Done:*", "done:").replace("   *You:*", " · you:").replace("*You:*", "you:")
    assert said == f"🔴 FIRING blue: gpu-off-bus on node-7 r1 · {told}"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="nothing"),
        pytest.param("x" * 90_000, id="one long line"),
        pytest.param("a line of a log\n" * 5000, id="many lines"),
        pytest.param("<&>" * 20_000, id="reserved characters"),
    ],
)
def test_long_texts_stay_within_slacks_limits_and_say_that_they_were_cut(
    slack: SlackProcess, channel: Slack, body: str
) -> None:
    long = page("INC-1", 1, body=body, thread=body or "-")

    async def post() -> None:
        await channel.detail(long, await channel.open(long))

    asyncio.run(post())
    for message in slack.messages():
        assert len(message["text"]) <= 40_000
        texts = [block["text"]["text"] for block in message["blocks"] if "text" in block]
        assert all(0 < len(text) <= BLOCK_CHARS for text in texts)
        assert ("cut; the logbook" in message["text"]) == (len(body) > 40_000)


def test_entities_are_never_cut_in_two() -> None:
    for length in range(BLOCK_CHARS - 8, BLOCK_CHARS + 1):
        made = blocks(page("INC-1", 1, body="x" * length + "&" * 20_000), UNNAMED)
        texts = [block["text"]["text"] for block in made if block["type"] == "section"]
        for text in [*texts, fallback_text(page("INC-1", 1, body="x" * length + "&" * 20_000), UNNAMED)]:
            assert "&" not in text.replace("&amp;", "")


def test_backticks_in_details_do_not_end_the_preformatted_text() -> None:
    assert detail_text("a ``` b") == "```\na ''' b\n```"


def test_a_long_title_fits_the_header() -> None:
    header = blocks(page("I" * 200, 1), UNNAMED)[0]
    assert len(header["text"]["text"]) <= HEADER_CHARS


def test_a_server_that_limits_the_rate_says_how_long_to_wait() -> None:
    with slack_process("--seconds-per-post", "5") as limited:
        channel = Slack("xoxb-test", "C1", base_url=limited.api)
        asyncio.run(channel.open(page("INC-1", 1)))
        with pytest.raises(SlackError) as caught:
            asyncio.run(channel.open(page("INC-2", 1)))
        assert caught.value.retry_after is not None
        assert 1 <= caught.value.retry_after <= 5
        channel.close()
