"""What a page looks like in Slack: Block Kit, its text without blocks, and the metadata to find it by."""

from collections.abc import Iterator
from typing import Any

from sentinel.adapters.page_channel import Sender, footer, headline
from sentinel.model.action import Page

MESSAGE, DETAIL = "sentinel_incident", "sentinel_incident_detail"
HEADER_CHARS, BLOCK_CHARS, TEXT_CHARS = 150, 3000, 40_000
"""Slack's own limits: a header block, a section block, a message's text."""
BODY_CHARS = 11_000
"""All blocks of one message together; Slack answers `msg_blocks_too_long` somewhat above 13,000."""


def metadata(kind: str, page: Page, sender: Sender) -> dict[str, Any]:
    """What a look-up recognises a message by."""
    cluster = {"cluster": sender.cluster} if sender.cluster else {}
    return {
        "event_type": kind,
        "event_payload": {**cluster, "incident": page.incident, "revision": page.revision},
    }


def is_about(payload: dict[str, Any], page: Page, sender: Sender) -> bool:
    """Say whether a message is about this incident; an older release did not say of which cluster it was."""
    return (
        payload.get("incident") == page.incident and payload.get("cluster", sender.cluster) == sender.cluster
    )


def escaped(text: str) -> str:
    """Text with the three characters that Slack's markup reserves."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def cut(text: str, limit: int) -> str:
    """Text of at most `limit` characters, which says so when something is missing; entities stay whole."""
    if len(text) <= limit:
        return text
    note = "\n… cut; the logbook has all of it"
    head = text[: limit - len(note)]
    start = head.rfind("&", len(head) - 5)
    return (head if start < 0 or ";" in head[start:] else head[:start]) + note


def chunks(text: str, limit: int) -> Iterator[str]:
    """Split at line ends where there are any, into pieces of at most `limit` characters."""
    while len(text) > limit:
        end = text.rfind("\n", 1, limit) + 1 or limit
        start = text.rfind("&", end - 5, end)
        if start > 0 and ";" not in text[start:end]:
            end = start
        yield text[:end]
        text = text[end:]
    if text.strip():
        yield text


def fallback_text(page: Page, sender: Sender) -> str:
    """What notifications and screen readers get."""
    return cut(escaped(f"{headline(page, sender)}\n{page.body}"), TEXT_CHARS)


def detail_text(thread: str) -> str:
    """Details as preformatted text; backticks of their own must not end it."""
    return "```\n" + cut(escaped(thread.replace("```", "'''")), TEXT_CHARS - 8) + "\n```"


def blocks(page: Page, sender: Sender) -> list[dict[str, Any]]:
    """The message in Block Kit: headline, body, and where to read on."""
    title = headline(page, sender)
    title = title if len(title) <= HEADER_CHARS else title[: HEADER_CHARS - 1] + "…"
    body = cut(escaped(page.body), BODY_CHARS)
    return [
        {"type": "header", "text": {"type": "plain_text", "text": title, "emoji": True}},
        *(
            {"type": "section", "text": {"type": "mrkdwn", "text": piece}}
            for piece in chunks(body, BLOCK_CHARS)
        ),
        {"type": "context", "elements": [{"type": "mrkdwn", "text": escaped(footer(page, sender))}]},
    ]
