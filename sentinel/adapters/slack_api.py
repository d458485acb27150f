"""One call of Slack's Web API: bounded in time and size, and an answer that makes no sense is an error."""

import asyncio
import re
import ssl
import time
from functools import cache
from typing import Any

import httpx
import msgspec

from sentinel.adapters.page_channel import ChannelError
from sentinel.model.ids import Seconds
from sentinel.redact import redact
from sentinel.terminal_text import one_line

PASSING = {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable"}
PASSING |= {"request_timeout", "team_added_to_org", "accesslimited"}
GONE = {"message_not_found", "thread_not_found"}
MOST_BYTES = 8 * 1024 * 1024
"""A hundred messages of the longest kind, with their blocks, have about this."""
SHORTEST_WAIT, LONGEST_WAIT = 1.0, 600.0
"""Whatever Retry-After says."""
LONGEST_ERROR = 200
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?")


class SlackError(ChannelError):
    """Slack did not take a call; the message is Slack's error code, the network's, or what makes no sense."""


class SlackApi:
    """The API behind one token. Calls block: they are for a thread of their own."""

    def __init__(self, token: str, base_url: str, timeout: Seconds) -> None:
        """`timeout` is for each read and write; a call may take four of them."""
        self._base_url, self._timeout = base_url.rstrip("/") + "/", timeout
        self._headers = {"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"}

    def call(self, method: str, *, form: bool = False, until: float = float("inf"), **fields: Any) -> Any:
        """Call a method with its fields as JSON, or as a form; gives the answer, a dict whose `ok` is true.

        `until` is when, by the monotonic clock, it has to be over. Raises SlackError.
        """
        within = min(4 * self._timeout, until - time.monotonic())
        try:
            status, headers, body = asyncio.run(self._post(method, fields, within, form=form))
        except TimeoutError:
            raise SlackError(f"no answer within {max(within, 0.0):.1f} s", unsure=True) from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:  # so nothing was sent
            raise SlackError(_told(error)) from None
        except SlackError:
            raise
        except Exception as error:  # a cut-off or senseless reply, an address that is none
            raise SlackError(_told(error), unsure=True) from None
        return _judged(status, headers, body)

    async def _post(
        self, method: str, fields: dict[str, Any], within: Seconds, *, form: bool
    ) -> tuple[int, httpx.Headers, bytes]:
        outside = not self._base_url.startswith("http://")  # a server of our own is never behind a proxy
        sent: dict[str, Any] = {"data": fields} if form else {"json": fields}
        async with (
            asyncio.timeout(within),
            httpx.AsyncClient(
                verify=_trusted() if outside else False,
                trust_env=outside,
                follow_redirects=False,  # the token is for nobody else
                timeout=self._timeout,
            ) as client,
            client.stream("POST", self._base_url + method, headers=self._headers, **sent) as answer,
        ):
            return answer.status_code, answer.headers, await _bounded(answer)


async def _bounded(answer: httpx.Response) -> bytes:
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise SlackError("an answer that is compressed", unsure=True)
    body = bytearray()
    async for piece in answer.aiter_raw():
        body += piece
        if len(body) > MOST_BYTES:
            raise SlackError(f"an answer of more than {MOST_BYTES} bytes", unsure=True)
    return bytes(body)


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


def retry_after(text: str) -> Seconds:
    """Read how long to wait: within bounds, whatever it says."""
    found = _NUMBER.fullmatch(text.strip(" \t"))
    return min(max(float(found[0]), SHORTEST_WAIT), LONGEST_WAIT) if found else SHORTEST_WAIT


def _told(error: Exception) -> str:
    return one_line(redact(f"{type(error).__name__}: {error}")[:LONGEST_ERROR])


@cache
def _trusted() -> ssl.SSLContext:
    return httpx.create_ssl_context()
