"""Where nodes live and jobs run: one folder for each scheduler, found by its name, behind the ports."""

import importlib
import importlib.util
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:  # an agent needs no settings, and must stay small
    from sentinel.backends.port import Backend
    from sentinel.config import Settings
    from sentinel.model.check import RankProcess, Raylet


class UnknownBackendError(ValueError):
    """There is no back end of this name, or it can't be loaded; the message is one line."""


class Daemon(Protocol):
    """A scheduler's own process on a node, as that node's agent sees it."""

    def look(self, ranks: "Iterable[RankProcess]") -> "Raylet | None":
        """Say whether it runs; None where none was ever seen here. `ranks` are the node's processes."""


class Kind(Protocol):
    """What a back end's module offers; it imports what is costly only where that is called."""

    def connect(self, settings: "Settings") -> "Backend":
        """Give its ports. Nothing is asked and started before the ports are used."""

    def unready(self, settings: "Settings", *, token: bool = False) -> str:
        """Say why the scheduler does not answer from here, and what to type; empty if it does."""

    def daemon(self, address: str, *, was_seen: bool) -> Daemon:
        """Watch the scheduler's process on the node of this address. `was_seen`: by an agent before."""


def load(name: str) -> Kind:
    """Find a back end: a folder here of this name, or else a module that can be imported by it.

    Raises UnknownBackendError.
    """
    try:
        own = f"{__name__}.{name}"
        found = importlib.import_module(own if "." not in name and importlib.util.find_spec(own) else name)
    except Exception as error:  # whatever a module of somebody else raises
        raise UnknownBackendError(f"cluster.backend {name}: {type(error).__name__}: {error}") from None
    if lacks := [each for each in ("connect", "unready", "daemon") if not hasattr(found, each)]:
        raise UnknownBackendError(f"cluster.backend {name}: {found.__name__} has no {', '.join(lacks)}")
    return cast(Kind, found)
