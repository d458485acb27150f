"""One call of Slack's Web API: bounded in time and size, and an answer that makes no sense is an error."""

import asyncio
import time
from typing import Any

import httpx
import msgspec

from sentinel.adapters.http_post import LONGEST_ERROR, post, retry_after
from sentinel.adapters.page_channel import ChannelError
from sentinel.model.ids import Seconds
from sentinel.terminal_text import one_line

PASSING = {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable"}
PASSING |= {"request_timeout", "team_added_to_org", "accesslimited"}
GONE = {"message_not_found", "thread_not_found"}
MOST_BYTES = 8 * 1024 * 1024
"""A hundred messages of the longest kind, with their blocks, have about this."""


class SlackError(ChannelError):
    """Slack did not take a call; the message is Slack's error code, the network's, or what makes no sense."""


class SlackApi:
    """The API behind one token. Calls block: they are for a thread of their own."""

    def __init__(self, token: str, base_url: str, timeout: Seconds) -> None:
        """`timeout` is for each read and write; a call may take four of them."""
        self._base_url, self._timeout = base_url.rstrip("/") + "/", timeout
        self._headers = {"Authorization": f"Bearer {token}"}

    def call(self, method: str, *, form: bool = False, until: float = float("inf"), **fields: Any) -> Any:
        """Call a method with its fields as JSON, or as a form; gives the answer, a dict whose `ok` is true.

        `until` is when, by the monotonic clock, it has to be over. Raises SlackError.
        """
        within = min(4 * self._timeout, until - time.monotonic())
        sent: dict[str, Any] = {"data": fields} if form else {"json": fields}
        limits = {"timeout": self._timeout, "within": within}
        try:
            status, headers, body = asyncio.run(
                post(self._base_url + method, headers=self._headers, most=MOST_BYTES, **limits, **sent)
            )
        except ChannelError as error:
            raise SlackError(str(error), unsure=error.unsure) from None
        return _judged(status, headers, body)


def _judged(status: int, headers: httpx.Headers, body: bytes) -> dict[str, Any]:
    answer = _document(body)
    code = answer.get("error", "")
    code = one_line(code[:LONGEST_ERROR]) if isinstance(code, str) else ""
    if status == 429 or code in ("ratelimited", "rate_limited"):
        raise SlackError("rate limited", retry_after=retry_after(headers.get("retry-after", "")))
    if status >= 500 or code in PASSING or status == 408:
        raise SlackError(f"HTTP {status} {code}".strip(), unsure=True)
    if status == 200 and answer.get("ok") is True:
        return answer
    if code and answer.get("ok") is False:
        raise SlackError(code, permanent=True, gone=code in GONE)
    raise SlackError(f"HTTP {status}, and no answer of Slack's", unsure=True)


def _document(body: bytes) -> dict[str, Any]:
    """Give the answer's document; nonsense has no fields."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
