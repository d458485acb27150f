"""Whether a controller could start with some settings: what it would read is read, and nothing is begun."""

from sentinel import backends, config, runbooks
from sentinel.adapters import on_call, on_call_plan, receivers
from sentinel.adapters.page_channel import Sender
from sentinel.runtime import digest, slack_link, weekly
from sentinel.runtime.known_checks import known_checks
from sentinel.topology import read as read_topology


def look_over(settings: config.Settings) -> None:
    """Read all that the settings name. Raises ConfigError, which says what would keep a controller down."""
    given, sender = settings.job.trainer_config, Sender(settings.cluster.name, "")
    if given is not None and not given.is_file():
        raise config.ConfigError(f"job.trainer_config: no such file: {given}")
    known_checks(settings)
    try:
        books = runbooks.load(own=settings.cluster.runbooks_dir)
        backends.load(settings.cluster.backend)
    except (runbooks.RunbookError, backends.UnknownBackendError) as error:
        raise config.ConfigError(str(error)) from None
    read_topology(settings.cluster.topology)
    on_call.channels(settings, sender)
    known = receivers.load(settings, sender)
    on_call_plan.load(settings, [*books])
    digest.read(settings, known)
    weekly.read(settings, known)
    slack_link.task(settings, "", "")
    settings.pages.grafanas_token()
