"""Pages in a Slack channel: one message per incident, edited in place, details in its thread."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError

from sentinel.adapters.page_channel import ChannelError
from sentinel.adapters.slack_message import DETAIL, MESSAGE, blocks, detail_text, fallback_text, metadata
from sentinel.model.action import Page
from sentinel.model.ids import Instant, Seconds

T = TypeVar("T")

PASSING = {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable"}
PASSING |= {"request_timeout", "team_added_to_org", "accesslimited"}
GONE = {"message_not_found", "thread_not_found"}
CLOCK_SLACK: Seconds = 300.0
"""How far our clock may be ahead of Slack's when its history is searched."""


class SlackError(ChannelError):
    """Slack did not take a call; the message is Slack's error code or the network's."""


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
        link: str = "",
    ) -> None:
        """`link` is where to read on; `{incident}` in it is filled in."""
        self.name = f"slack:{channel}"
        self._channel = channel
        self._id = "" if channel.startswith("#") else channel
        self._link = link
        # The library's own retries would post again after a dropped reply without looking first.
        self._client = WebClient(token, base_url, timeout=timeout, retry_handlers=[])
        if base_url.startswith("http://"):
            self._client.proxy = None  # a server of our own, never behind the proxy of the environment
        # One thread: a look-up waits for a call that we no longer wait for, and so cannot miss its message.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self.name)

    def close(self) -> None:
        """Let the thread go once its call has ended."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def open(self, page: Page) -> str:
        """Post the incident's message and give its `ts`."""

        def post() -> str:
            answer = self._client.chat_postMessage(
                channel=self._channel, metadata=metadata(MESSAGE, page), **self._content(page)
            )
            self._id = str(answer["channel"])
            return str(answer["ts"])

        return await self._call(post)

    async def edit(self, page: Page, ref: str) -> None:
        """Replace the message's text, blocks and metadata."""
        await self._call(
            lambda: self._client.chat_update(
                channel=self._where(), ts=ref, metadata=metadata(MESSAGE, page), **self._content(page)
            )
        )

    async def detail(self, page: Page, ref: str) -> None:
        """Post the page's details as a reply."""
        await self._call(
            lambda: self._client.chat_postMessage(
                channel=self._channel,
                thread_ts=ref,
                text=detail_text(page.thread),
                metadata=metadata(DETAIL, page),
                unfurl_links=False,
            )
        )

    async def find(self, page: Page, since: Instant) -> tuple[str, int] | None:
        """Look through the channel's messages since then for the incident's."""

        def search() -> tuple[str, int] | None:
            query = {"channel": self._where(), "oldest": f"{since - CLOCK_SLACK:.6f}"}
            for message in self._messages(self._client.conversations_history, **query):
                payload = _payload(message, MESSAGE)
                if payload.get("incident") == page.incident:
                    return str(message["ts"]), int(payload.get("revision", -1))
            return None

        return await self._call(search)

    async def find_detail(self, page: Page, ref: str) -> bool:
        """Look through the message's thread for this page's details."""
        wanted = {"incident": page.incident, "revision": page.revision}

        def search() -> bool:
            query = {"channel": self._where(), "ts": ref}
            replies = self._messages(self._client.conversations_replies, **query)
            return any(_payload(reply, DETAIL) == wanted for reply in replies)

        return await self._call(search)

    def _where(self) -> str:
        """Give the channel's id: Slack takes a name for a post, and for nothing else."""
        if not self._id:
            kinds = "public_channel,private_channel"
            known = self._listed("channels", self._client.conversations_list, types=kinds)
            self._id = next((str(each["id"]) for each in known if f"#{each['name']}" == self._channel), "")
        if not self._id:
            raise SlackError("channel_not_found", permanent=True)
        return self._id

    def _messages(self, method: Callable[..., Any], **query: Any) -> Iterator[dict[str, Any]]:
        return self._listed("messages", method, include_all_metadata=True, **query)

    def _listed(self, what: str, method: Callable[..., Any], **query: Any) -> Iterator[dict[str, Any]]:
        cursor = None
        while cursor != "":
            answer = method(limit=200, cursor=cursor, **query)
            yield from answer[what]
            cursor = (answer.get("response_metadata") or {}).get("next_cursor") or ""

    def _content(self, page: Page) -> dict[str, Any]:
        return {"text": fallback_text(page), "blocks": blocks(page, self._link), "unfurl_links": False}

    async def _call(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, call)
        except SlackError:
            raise
        except SlackApiError as error:
            raise _judged(error) from error
        except (OSError, SlackClientError, ValueError) as error:
            refused = isinstance(getattr(error, "reason", error), ConnectionRefusedError)
            raise SlackError(str(error) or type(error).__name__, unsure=not refused) from error
        except Exception as error:  # a cut-off or senseless reply: http.client's own kinds, a missing key
            raise SlackError(f"{type(error).__name__}: {error}", unsure=True) from error


def _judged(error: SlackApiError) -> SlackError:
    response = error.response
    code = str(response.get("error", "") if isinstance(response.data, dict) else "")
    if response.status_code == 429 or code in ("ratelimited", "rate_limited"):
        headers = {name.lower(): str(value) for name, value in response.headers.items()}
        wait = headers.get("retry-after", "")
        return SlackError(
            "rate limited", retry_after=float(wait) if wait.replace(".", "", 1).isdigit() else 1.0
        )
    if response.status_code >= 500 or code in PASSING or response.status_code == 408:
        return SlackError(f"HTTP {response.status_code} {code[:80]}".strip(), unsure=True)
    return SlackError(code[:80], permanent=True, gone=code in GONE)


def _payload(message: dict[str, Any], kind: str) -> dict[str, Any]:
    found = message.get("metadata") or {}
    payload: dict[str, Any] = found.get("event_payload", {}) if found.get("event_type") == kind else {}
    return payload
