"""A further Slack channel, in the same workspace or in another one."""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from sentinel import config
from sentinel.adapters.page_channel import PageChannel, Sender
from sentinel.adapters.receivers import Kind
from sentinel.adapters.slack import Slack
from sentinel.redact import remember


class Settings(config.Table):
    """Its keys."""

    token_file: Path
    """With the app's token."""
    channel: str = Field(min_length=1)
    fallback_channel: str = ""
    """Taken when the channel does not accept a page."""
    base_url: str = "https://slack.com/api/"


def _channels(name: str, settings: Settings, sender: Sender) -> Sequence[PageChannel]:
    token = config.read_secret(f"receivers.{name}.token_file", settings.token_file)
    remember(token)
    names = [each for each in (settings.channel, settings.fallback_channel) if each]
    return [Slack(token, each, base_url=settings.base_url, sender=sender) for each in names]


RECEIVER = Kind(Settings, _channels)
