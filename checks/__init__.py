"""Every check of a node: one file, one check; more come from installed packages."""

import importlib
import pkgutil
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any, TypeVar

from sentinel.model.check import Check
from sentinel.model.collective import CollectiveCheck

GROUP = "sentinel.checks"
"""Entry point group in which other packages offer checks."""


T = TypeVar("T")


class CheckError(Exception):
    """A check can't be loaded; the message says which and why, in one line."""


def load() -> dict[str, Check]:
    """Find every check of a node by name: `CHECK` of each file here, then each entry point."""
    return _of(Check)


def load_collective() -> dict[str, CollectiveCheck]:
    """Find every check that measures on several nodes together, by name."""
    return _of(CollectiveCheck)


def _of(kind: type[T]) -> dict[str, T]:
    checks: dict[str, Any] = {}
    for origin, value in (*_own(), *_installed()):
        if not isinstance(value, Check | CollectiveCheck):
            raise CheckError(f"{origin}: is {type(value).__name__}, not a Check or CollectiveCheck")
        if value.name in checks:
            raise CheckError(f"{origin}: a check named {value.name!r} exists already")
        checks[value.name] = value
    return {name: check for name, check in checks.items() if isinstance(check, kind)}


def _own() -> Iterator[tuple[str, Any]]:
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda each: each.name):
        name = f"{__name__}.{module.name}"
        if not module.name.startswith("_"):  # such a one only helps a check
            yield name, getattr(_import(name), "CHECK", None)


def _import(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise CheckError(f"{name}: {type(error).__name__}: {error}") from error


def _installed() -> Iterator[tuple[str, Any]]:
    for point in entry_points(group=GROUP):
        origin = f"entry point {point.name} = {point.value}"
        try:
            yield origin, point.load()
        except Exception as error:
            raise CheckError(f"{origin}: {type(error).__name__}: {error}") from error
