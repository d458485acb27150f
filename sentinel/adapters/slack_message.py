"""What a page looks like in Slack: Block Kit, its text without blocks, and the metadata to find it by."""

from collections.abc import Iterator
from typing import Any

from sentinel.adapters.page_channel import (
    ASKED,
    DID,
    FAILED,
    LEFT,
    Sender,
    asked_of,
    dashboard_url,
    done_of,
    headline,
    logbook_url,
    runbook_url,
    said,
    summary,
)
from sentinel.adapters.slack_controls import Controls
from sentinel.adapters.slack_controls import blocks as buttons
from sentinel.model.action import Page

MESSAGE, DETAIL = "sentinel_incident", "sentinel_incident_detail"
HEADER_CHARS, BLOCK_CHARS, TEXT_CHARS = 150, 3000, 40_000
"""Slack's own limits: a header block, a section block, a message's text."""
LEAD_CHARS = 1400
"""What was done, and what is asked of the reader: each of the two in the first section."""
SAID_CHARS = 1000
"""What people did that the page does not say."""
NOTHING = Controls()
BODY_CHARS = 8_000
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
    """What notifications and screen readers get: all of it in one line, then the rest."""
    return cut(escaped(f"{summary(page, sender)}\n{page.body}"), TEXT_CHARS)


def detail_text(thread: str) -> str:
    """Details as preformatted text; backticks of their own must not end it."""
    return "```\n" + cut(escaped(thread.replace("```", "'''")), TEXT_CHARS - 8) + "\n```"


def blocks(page: Page, sender: Sender, controls: Controls = NOTHING) -> list[dict[str, Any]]:
    """The message in Block Kit: what and where, what was done and is asked, the rest, buttons, links."""
    title = headline(page, sender)
    title = title if len(title) <= HEADER_CHARS else title[: HEADER_CHARS - 1] + "…"
    lead, body = _lead(page), cut(escaped("\n".join(_evidence(page))), BODY_CHARS)
    return [
        {"type": "header", "text": {"type": "plain_text", "text": title, "emoji": True}},
        *([_section(lead)] if lead else []),
        *(_section(piece) for piece in chunks(body, BLOCK_CHARS)),
        *([_context(cut(escaped("\n".join(controls.said)), SAID_CHARS))] if controls.said else []),
        *buttons(controls, page, sender),
        _context(_links(page, sender)),
    ]


def _lead(page: Page) -> str:
    """Say what was done already and what is asked of the reader, in a line."""
    parts = (("Done", done_of(page)), ("You", asked_of(page)))
    told = (f"*{word}:* {cut(escaped(text), LEAD_CHARS)}" for word, text in parts if text)
    return "   ".join(told)


def _evidence(page: Page) -> list[str]:
    """Give the lines of a page that its lead does not say."""
    told = (DID, FAILED, ASKED) if len(said(page, LEFT)) != 1 else (DID, FAILED, ASKED, LEFT)
    return [line for line in page.body.splitlines() if not line.startswith(told)]


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def _context(text: str) -> dict[str, Any]:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": text}]}


def _links(page: Page, sender: Sender) -> str:
    """Name the incident and its revision, who was asked, and where to read on."""
    name = f"{sender.cluster}/{page.incident}" if sender.cluster else page.incident
    if page.news:
        return f"<{escaped(logbook_url(page, sender))}|logbook>" if sender.url else page.incident
    parts = [page.asked] if page.asked else []
    parts = [escaped(each) for each in (*parts, f"incident {name}", f"revision {page.revision}")]
    urls = (
        ("logbook entry", logbook_url(page, sender)),
        ("runbook", runbook_url(page, sender)),
        ("dashboard", dashboard_url(page, sender)),
    )
    parts += [f"<{escaped(url)}|{word}>" for word, url in urls if url]
    return " · ".join(parts)
