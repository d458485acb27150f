"""Where on-call reads pages: Slack if there is a token, its fallback channel, at last console and file."""

from functools import partial

from sentinel import config
from sentinel.adapters.console_pages import ConsolePages
from sentinel.adapters.page_channel import PageChannel, Sender
from sentinel.adapters.slack import Slack
from sentinel.adapters.slack_controls import ControlsOf

OF_SLACK = ("channel", "fallback_channel", "base_url")
"""Who sets one of these wants pages in Slack."""


def channels(
    settings: config.Settings, sender: Sender, controls: ControlsOf | None = None
) -> list[PageChannel]:
    """Give the channels of `[pages]`, each the fallback of those before it. Raises ConfigError.

    `controls` says what people can press in Slack; None: nothing.
    """
    pages, file = settings.pages, last_resort(settings, sender)
    if not (token := pages.token()):
        return [file]
    names = [name for name in (pages.channel, pages.fallback_channel) if name]
    slack = partial(Slack, token, base_url=pages.base_url, sender=sender, controls=controls)
    return [*map(slack, names), file]


def without_token(settings: config.Settings) -> list[str]:
    """Name the Slack channels that the settings speak of and that nobody can page, for there is no token."""
    pages = settings.pages
    if pages.token() or pages.model_fields_set.isdisjoint(OF_SLACK):
        return []
    return [f"slack:{name}" for name in (pages.channel, pages.fallback_channel) if name]


def last_resort(settings: config.Settings, sender: Sender) -> PageChannel:
    """Give what takes pages without any setting."""
    return ConsolePages(settings.cluster.state_dir / "pages.log", sender=sender)
