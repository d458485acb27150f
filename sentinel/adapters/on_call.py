"""Where on-call reads pages: Slack if there is a token, its fallback channel, at last console and file."""

from sentinel import config
from sentinel.adapters.console_pages import ConsolePages
from sentinel.adapters.page_channel import PageChannel, Sender
from sentinel.adapters.slack import Slack


def channels(settings: config.Settings, sender: Sender) -> list[PageChannel]:
    """Give the channels of `[pages]`, each the fallback of those before it. Raises ConfigError."""
    pages, file = settings.pages, last_resort(settings, sender)
    if not (token := pages.token()):
        return [file]
    names = [name for name in (pages.channel, pages.fallback_channel) if name]
    return [*(Slack(token, name, base_url=pages.base_url, sender=sender) for name in names), file]


def last_resort(settings: config.Settings, sender: Sender) -> PageChannel:
    """Give what takes pages without any setting."""
    return ConsolePages(settings.cluster.state_dir / "pages.log", sender=sender)
