"""Who else gets pages: one file, one kind of receiver; more come from installed packages."""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from sentinel import config
from sentinel.adapters.page_channel import PageChannel, Sender
from sentinel.model.action import Page
from sentinel.oncall.routes import ON_CALL as ON_CALL

GROUP = "sentinel.receivers"
"""Entry point group in which other packages offer kinds, each `NAME = module:RECEIVER`."""

T = TypeVar("T", bound=config.Table)


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """What a file offers as `RECEIVER`."""

    settings: type[T]
    """Its own keys of `[receivers.NAME]`."""
    channels: Callable[[str, T, Sender], Sequence[PageChannel]]
    """(receiver's name, its settings, who pages) → its channel and, after it, those to fall back to.

    Raises ConfigError.
    """


@dataclass(frozen=True, slots=True)
class Receiver:
    """One that is set up."""

    name: str
    causes: Sequence[str]
    severities: Sequence[str]
    channels: Sequence[PageChannel]

    def wants(self, page: Page) -> bool:
        """Say whether a page is for it; one without a cause tells that Sentinel itself is in trouble."""
        if not page.cause:
            return True
        caused = not self.causes or any(fnmatchcase(page.cause, each) for each in self.causes)
        return caused and not (self.severities and page.severity and page.severity not in self.severities)


def load(settings: config.Settings, sender: Sender) -> list[Receiver]:
    """Set up all that the settings name. Raises ConfigError."""
    return [_set_up(name, table, sender) for name, table in settings.receivers.items()]


def _set_up(name: str, table: config.Receiver, sender: Sender) -> Receiver:
    if name == ON_CALL:
        raise config.ConfigError(f"receivers.{name}: is the name of [pages]")
    kind = _kind(name, table.kind or name)
    channels = kind.channels(name, table.of(name, kind.settings), sender)
    if not channels:
        raise config.ConfigError(f"receivers.{name}: has no channel")
    return Receiver(name, table.causes, table.severity, channels)


def read_token(key: str, file: Path | None) -> str:
    """Read what goes into a header or an event as it is; empty without a file. Raises ConfigError."""
    token = config.read_secret(key, file) if file else ""
    if not token.isascii() or not token.isprintable() or bool(file) != bool(token):
        raise config.ConfigError(f"{key}: is no secret in one line: {file}")
    return token


def _kind(name: str, wanted: str) -> Kind[Any]:
    """Find a kind by its name: a file here, or else an entry point."""
    own = {module.name for module in pkgutil.iter_modules(__path__)}
    installed = {point.name: point for point in entry_points(group=GROUP)}
    try:
        if wanted in own:
            found: Any = importlib.import_module(f"{__name__}.{wanted}").RECEIVER
        elif wanted in installed:
            found = installed[wanted].load()
        else:
            known = ", ".join(sorted(own | set(installed)))
            raise config.ConfigError(f"receivers.{name}: there is no kind {wanted!r}; known are {known}")
    except config.ConfigError:
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        raise config.ConfigError(f"receivers.{name}: {wanted!r} can't be loaded: {said}") from error
    if not isinstance(found, Kind):
        raise config.ConfigError(f"receivers.{name}: {wanted!r} is {type(found).__name__}, not a Kind")
    return found
