"""One call of a server of others: bounded in time and size, and what goes wrong is a ChannelError."""

import asyncio
import re
import ssl
from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx

from sentinel.adapters.page_channel import ChannelError
from sentinel.model.ids import Seconds
from sentinel.redact import redact
from sentinel.terminal_text import one_line

SHORTEST_WAIT, LONGEST_WAIT = 1.0, 600.0
"""Whatever Retry-After says."""
LONGEST_ERROR = 200
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]*)?")


async def post(
    url: str, *, headers: Mapping[str, str], timeout: Seconds, within: Seconds, most: int, **sent: Any
) -> tuple[int, httpx.Headers, bytes]:
    """Call with POST."""
    return await call("POST", url, headers=headers, timeout=timeout, within=within, most=most, **sent)


async def call(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    timeout: Seconds,
    within: Seconds,
    most: int,
    **sent: Any,
) -> tuple[int, httpx.Headers, bytes]:
    """Send what httpx calls `data`, `json` or `content`, and give status, headers and body.

    `timeout` is for each read and write, `within` for all of it; `most` is how many bytes an answer may have.
    Raises ChannelError, `unsure` unless nothing can have been sent.
    """
    try:
        return await _call(
            method, url, {**headers, "Accept-Encoding": "identity"}, timeout, within, most, sent
        )
    except TimeoutError:
        raise ChannelError(f"no answer within {max(within, 0.0):.1f} s", unsure=True) from None
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:  # so nothing was sent
        raise ChannelError(_reason(error)) from None
    except ChannelError:
        raise
    except Exception as error:  # a cut-off or senseless reply, an address that is none
        raise ChannelError(_reason(error), unsure=True) from None


async def _call(
    method: str,
    url: str,
    headers: Mapping[str, str],
    timeout: Seconds,
    within: Seconds,
    most: int,
    sent: Mapping[str, Any],
) -> tuple[int, httpx.Headers, bytes]:
    outside = not url.startswith("http://")  # a server of our own is never behind a proxy
    async with (
        asyncio.timeout(within),
        httpx.AsyncClient(
            verify=_trusted() if outside else False,
            trust_env=outside,
            follow_redirects=False,  # the token is for nobody else
            timeout=timeout,
        ) as client,
        client.stream(method, url, headers=headers, **sent) as answer,
    ):
        return answer.status_code, answer.headers, await _bounded(answer, most)


async def _bounded(answer: httpx.Response, most: int) -> bytes:
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise ChannelError("an answer that is compressed", unsure=True)
    body = bytearray()
    async for piece in answer.aiter_raw():
        body += piece
        if len(body) > most:
            raise ChannelError(f"an answer of more than {most} bytes", unsure=True)
    return bytes(body)


def retry_after(text: str) -> Seconds:
    """Read how long to wait: within bounds, whatever it says."""
    found = _NUMBER.fullmatch(text.strip(" \t"))
    return min(max(float(found[0]), SHORTEST_WAIT), LONGEST_WAIT) if found else SHORTEST_WAIT


def _reason(error: Exception) -> str:
    return one_line(redact(f"{type(error).__name__}: {error}")[:LONGEST_ERROR])


@cache
def _trusted() -> ssl.SSLContext:
    return httpx.create_ssl_context()
