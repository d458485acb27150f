"""One file per contender, each with a `CONTENDER`; a new file takes part without being listed."""

from importlib import import_module
from pkgutil import iter_modules

from benchmarks.recovery.contender import Contender


def all_contenders() -> dict[str, Contender]:
    """Every contender by name, torchrun first: the others are compared with it."""
    modules = (import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__))
    found = {module.CONTENDER.name: module.CONTENDER for module in modules}
    return dict(sorted(found.items(), key=lambda item: (item[0] != "torchrun", item[0])))
