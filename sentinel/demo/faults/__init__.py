"""The faults that the demo can inject: one file each, found by looking."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping

from sentinel.demo.fault import Fault


def _find() -> Iterator[Fault]:
    for module in pkgutil.iter_modules(__path__):
        found = importlib.import_module(f"{__name__}.{module.name}")
        yield from getattr(found, "FAULTS", None) or (found.FAULT,)


FAULTS: Mapping[str, Fault] = {fault.name: fault for fault in _find()}
NAMES = frozenset(FAULTS)
DEFAULT = ("rank-crash", "rank-hang", "gpu-ecc")
