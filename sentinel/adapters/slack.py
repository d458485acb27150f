"""Pages in a Slack channel: one message per incident, edited in place, details in its thread."""

import asyncio
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sentinel.adapters.page_channel import UNNAMED, Reminder, Sender, headline
from sentinel.adapters.slack_api import SlackApi, SlackError
from sentinel.adapters.slack_controls import Controls, ControlsOf
from sentinel.adapters.slack_message import (
    DETAIL,
    MESSAGE,
    NOTHING,
    blocks,
    detail_text,
    escaped,
    fallback_text,
    is_about,
    metadata,
)
from sentinel.model.action import Page
from sentinel.model.ids import Instant, Seconds

__all__ = ["Slack", "SlackError"]

T = TypeVar("T")

CLOCK_SLACK: Seconds = 300.0
"""How far our clock may be ahead of Slack's when its history is searched."""
LOOKS_FOR: Seconds = 18.0
"""All calls of one step together: less than the outbox gives it."""
MOST_PAGES, A_PAGE = 50, 100
"""What is further back in a channel than so many messages, or among more channels, is not looked for."""
MOST_SHOWN = 1000
"""Incidents of which is known what their message's buttons are."""
_TS = re.compile(r"[0-9]{1,12}\.[0-9]{1,9}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


class Slack:
    """A PageChannel on Slack's Web API. `channel` is an id such as `C0123`, or a name such as `#oncall`."""

    looks_up = True

    def __init__(
        self,
        token: str,
        channel: str,
        *,
        base_url: str = "https://slack.com/api/",
        timeout: Seconds = 5.0,
        sender: Sender = UNNAMED,
        controls: ControlsOf | None = None,
    ) -> None:
        """`sender` says which cluster pages; only its own messages are found again.

        `controls` says what can be pressed below a page now, and what people have done; it is called in the
        event loop.
        """
        self.name = f"slack:{channel}"
        self._channel = channel
        self._id = "" if channel.startswith("#") else channel
        self._sender, self._controls = sender, controls
        self._shown: dict[str, Controls] = {}
        self.is_stale: Callable[[Page], bool] | None = None if controls is None else self._is_stale
        self._token, self._api = token, SlackApi(token, base_url, timeout)
        # One thread: a look-up waits for a call that we no longer wait for, and so cannot miss its message.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self.name)

    def offer(self, token: str, controls: ControlsOf) -> None:
        """Have buttons, if it is with this token that it posts: presses come to the app that has it."""
        if token == self._token:
            self._controls, self.is_stale = controls, self._is_stale

    def close(self) -> None:
        """Let the thread go once its call has ended."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def open(self, page: Page) -> str:
        """Post the incident's message and give its `ts`."""
        controls = self._of(page)
        message = self._content(page, controls)

        def post(until: float) -> str:
            answer = self._api.call("chat.postMessage", until=until, channel=self._channel, **message)
            self._id = _text(_ID, answer.get("channel"), "channel")
            return _text(_TS, answer.get("ts"), "ts")

        ref = await self._call(post)
        self._keep(page, controls)
        return ref

    async def edit(self, page: Page, ref: str) -> None:
        """Replace the message's text, blocks and metadata."""
        controls = self._of(page)
        message = self._content(page, controls)

        def update(until: float) -> None:
            self._api.call("chat.update", until=until, channel=self._where(until), ts=ref, **message)

        await self._call(update)
        self._keep(page, controls)

    def _is_stale(self, page: Page) -> bool:
        """Say whether what can be pressed, or was, is not what the incident's message shows."""
        return self._shown.get(page.incident) != self._of(page)

    def _of(self, page: Page) -> Controls:
        return NOTHING if self._controls is None else self._controls(page)

    def _keep(self, page: Page, controls: Controls) -> None:
        if len(self._shown) >= MOST_SHOWN and page.incident not in self._shown:
            self._shown.pop(next(iter(self._shown)))  # it is edited once more, should it still be open
        self._shown[page.incident] = controls

    async def detail(self, page: Page, ref: str) -> None:
        """Post the page's details as a reply."""
        text, mark = detail_text(page.thread), metadata(DETAIL, page, self._sender)
        message: dict[str, Any] = {"text": text, "metadata": mark, "unfurl_links": False}

        def reply(until: float) -> None:
            self._api.call("chat.postMessage", until=until, channel=self._channel, thread_ts=ref, **message)

        await self._call(reply)

    async def remind(self, page: Page, ref: str, reminder: Reminder) -> None:
        """Say below the message, and in the channel, that it waits for somebody."""
        text = f":repeat: {escaped(reminder.text)}: {escaped(headline(page, self._sender))}"

        def reply(until: float) -> None:
            sent: dict[str, Any] = {
                "channel": self._channel,
                "thread_ts": ref,
                "reply_broadcast": True,
                "text": text,
            }
            self._api.call("chat.postMessage", until=until, **sent)

        await self._call(reply)

    async def find(self, page: Page, since: Instant) -> tuple[str, int] | None:
        """Look through the channel's messages since then for the incident's."""

        def search(until: float) -> tuple[str, int] | None:
            oldest = f"{since - CLOCK_SLACK:.6f}"
            for message in self._messages("conversations.history", until, oldest=oldest):
                payload = _payload(message, MESSAGE)
                if is_about(payload, page, self._sender):
                    return _text(_TS, message.get("ts"), "ts"), _revision(payload.get("revision"))
            return None

        return await self._call(search)

    async def find_detail(self, page: Page, ref: str) -> bool:
        """Look through the message's thread for this page's details."""

        def search(until: float) -> bool:
            replies = self._messages("conversations.replies", until, ts=ref)
            found = (_payload(reply, DETAIL) for reply in replies)
            return any(
                is_about(each, page, self._sender) and each.get("revision") == page.revision for each in found
            )

        return await self._call(search)

    def _where(self, until: float) -> str:
        """Give the channel's id: Slack takes a name for a post, and for nothing else."""
        if not self._id:
            kinds = "public_channel,private_channel"
            for each in self._listed("channels", "conversations.list", until, types=kinds, limit=1000):
                if f"#{each.get('name')}" == self._channel:
                    self._id = _text(_ID, each.get("id"), "channel")
                    break
        if not self._id:
            raise SlackError("channel_not_found", permanent=True)
        return self._id

    def _messages(self, method: str, until: float, **query: Any) -> Iterator[dict[str, Any]]:
        where = {"channel": self._where(until), "include_all_metadata": 1, "limit": A_PAGE}
        return self._listed("messages", method, until, **where, **query)

    def _listed(self, what: str, method: str, until: float, **query: Any) -> Iterator[dict[str, Any]]:
        """Go from page to page, of which there is an end, and none twice."""
        cursor, seen = "", set[str]()
        for _ in range(MOST_PAGES):
            more = {"cursor": cursor} if cursor else {}
            answer = self._api.call(method, form=True, until=until, **query, **more)
            yield from (item for item in _items(answer.get(what), what) if isinstance(item, dict))
            cursor = _next(answer)
            if not cursor:
                return
            if cursor in seen:
                break
            seen.add(cursor)
        raise SlackError(f"{method}: its pages have no end")

    def _content(self, page: Page, controls: Controls) -> dict[str, Any]:
        text, shown = fallback_text(page, self._sender), blocks(page, self._sender, controls)
        mark = metadata(MESSAGE, page, self._sender)
        return {"text": text, "blocks": shown, "metadata": mark, "unfurl_links": False}

    async def _call(self, call: Callable[[float], T]) -> T:
        """Do one step in the thread; what it may take counts from when the thread comes to it."""
        within = lambda: call(time.monotonic() + LOOKS_FOR)  # noqa: E731
        return await asyncio.get_running_loop().run_in_executor(self._thread, within)


def _text(form: re.Pattern[str], found: Any, what: str) -> str:
    if not isinstance(found, str) or not form.fullmatch(found):
        raise SlackError(f"an answer whose {what} is none", unsure=True)
    return found


def _items(found: Any, what: str) -> list[Any]:
    if not isinstance(found, list):
        raise SlackError(f"an answer without {what}")
    return found


def _next(answer: dict[str, Any]) -> str:
    found = answer.get("response_metadata")
    cursor = found.get("next_cursor") if isinstance(found, dict) else ""
    return cursor if isinstance(cursor, str) else ""


def _revision(found: Any) -> int:
    return found if isinstance(found, int) and found in range(2**31) else -1


def _payload(message: dict[str, Any], kind: str) -> dict[str, Any]:
    found = message.get("metadata")
    if not isinstance(found, dict) or found.get("event_type") != kind:
        return {}
    payload = found.get("event_payload")
    return payload if isinstance(payload, dict) else {}
