"""A test page through every channel of every receiver: who would be reached, and who not and why."""

import asyncio
import time
from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from sentinel import config
from sentinel.adapters import on_call, receivers
from sentinel.adapters.grafana import Annotations
from sentinel.adapters.guarded_channel import GuardedChannel
from sentinel.adapters.page_channel import ChannelError, PageChannel, Sender
from sentinel.adapters.slack_api import SlackApi, SlackError
from sentinel.adapters.slack_people import People
from sentinel.model.action import Page, action_id
from sentinel.model.ids import IncidentId, Seconds
from sentinel.runtime.annotator import Note, written
from sentinel.runtime.startable import look_over

WITHIN_S: Seconds = 20.0
"""For each of a page's calls, as the outbox gives it."""
BUTTONS_WITHIN_S: Seconds = 5.0
"""For each read and write."""
TITLE = "Test page: nothing is wrong"
TEXT = "Somebody runs `sentinel page-test`.\nAsked of you: nothing"
UNREACHED = (
    "no token here; the controller has one if SENTINEL_PAGES__SLACK_TOKEN was set where it was started"
)


class Reached(NamedTuple):
    """What became of the test page in one channel."""

    receiver: str
    channel: str
    arrived: bool | None
    """None: it could not be tried."""
    error: str
    """Why not, or what failed after it had arrived, such as an edit that is not allowed; empty if nothing."""

    def row(self) -> dict[str, str]:
        """Give what people read."""
        how = {True: "arrived", False: "NOT DELIVERED", None: "NOT TRIED"}[self.arrived]
        result = f"{how}, but can't be edited" if self.arrived and self.error else how
        return {"receiver": self.receiver, "channel": self.channel, "test page": result, "why": self.error}


def send(settings: config.Settings) -> list[Reached]:
    """Page through all channels at once, fallbacks too, and resolve each page. Raises ConfigError."""
    look_over(settings)  # what is wrong with them is told before anybody is
    sender = Sender(settings.cluster.name, "")  # no incident of this name has a page to link to
    name = IncidentId(f"test-{int(time.time())}")
    page = Page(action_id(name, "page", "on-call", 1), name, 1, TITLE, TEXT, "open")
    untried = [Reached(receivers.ON_CALL, name, None, UNREACHED) for name in on_call.without_token(settings)]
    told = [(receiver, channel, page) for receiver, channel in _channels(settings, sender)]
    told += _annotations(settings, sender, page)
    return [*untried, *asyncio.run(_all(told)), *_buttons(settings)]


def _annotations(
    settings: config.Settings, sender: Sender, page: Page
) -> Iterator[tuple[str, PageChannel, Page]]:
    """Annotate in Grafana, where that is wanted. Raises ConfigError."""
    if token := settings.pages.grafanas_token():
        now = time.time()
        note = Note(page.incident, "test", now, now, TITLE, ())
        body = written(f"{sender.cluster}/{page.incident}", note, sender)
        yield "annotations", Annotations(settings.pages.grafana_url, token), replace(page, body=body)


def _buttons(settings: config.Settings) -> Iterator[Reached]:
    """Ask Slack whether it takes the app-level token, and who may press. Raises ConfigError."""
    pages = settings.pages
    if not (app_token := pages.app_token()):
        return
    try:
        SlackApi(app_token, pages.base_url, BUTTONS_WITHIN_S).call("apps.connections.open")
        People(SlackApi(pages.token(), pages.base_url, BUTTONS_WITHIN_S), pages.slack_groups).may_press("")
    except SlackError as error:
        yield Reached(receivers.ON_CALL, "slack buttons", arrived=False, error=str(error))
    else:
        yield Reached(receivers.ON_CALL, "slack buttons", arrived=True, error="")


def _channels(settings: config.Settings, sender: Sender) -> Iterator[tuple[str, PageChannel]]:
    yield from ((receivers.ON_CALL, channel) for channel in on_call.channels(settings, sender))
    for each in receivers.load(settings, sender):
        yield from ((each.name, channel) for channel in each.channels)


async def _all(told: list[tuple[str, PageChannel, Page]]) -> list[Reached]:
    sent = (_one(name, GuardedChannel(channel), page) for name, channel, page in told)
    return list(await asyncio.gather(*sent))


async def _one(receiver: str, channel: PageChannel, page: Page) -> Reached:
    """Post, look it up and edit it, as the outbox would: each may need a right of its own."""
    arrived = False
    try:
        async with asyncio.timeout(WITHIN_S):
            ref = await channel.open(page)
        arrived = True
        async with asyncio.timeout(2 * WITHIN_S):
            if channel.looks_up:
                await channel.find(page, time.time())
            second = action_id(page.incident, "page", "on-call", 2)
            await channel.edit(replace(page, id=second, revision=2, stage="resolved"), ref)
    except ChannelError as error:
        return Reached(receiver, channel.name, arrived, str(error))
    except TimeoutError:
        return Reached(receiver, channel.name, arrived, "no answer in time")
    return Reached(receiver, channel.name, arrived, "")
