"""Which settings a running controller has: it writes them down at its start, for `sentinel up` to compare."""

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from sentinel import private
from sentinel.config import Effective
from sentinel.runtime.running import Running

FILE = "settings.json"
_LONGEST = 1024 * 1024
"""Bytes of the file that are looked at."""


def write(state_dir: Path, controller: Running, settings: Iterable[Effective]) -> None:
    """Write down what a controller has read. A disk that is full keeps no controller from starting."""
    rows = {each.name: [each.value, each.digest] for each in settings}
    with suppress(OSError):
        private.write(state_dir / FILE, json.dumps({"controller": controller, "settings": rows}).encode())


def differences(state_dir: Path, controller: Running, wanted: Iterable[Effective]) -> Iterator[str]:
    """Say of each setting that is not in effect what is given and where, and what is in effect instead.

    Nothing is said of a controller that did not write its own down, as one of an earlier release.
    """
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(private.read(state_dir / FILE, _LONGEST))
        if found["controller"] != [*controller]:
            return
        named = {each.name: each for each in wanted}
        had = {name: (str(value), digest) for name, (value, digest) in found["settings"].items()}
        for name, each in named.items():
            value, digest = had.get(name, ("", ""))
            if digest != each.digest:
                given = each.value or "nothing"
                yield f"{name}: {given} ({each.origin}), in effect is {_other(value, given)}"
        yield from (f"{name}: given no more, in effect is {had[name][0]}" for name in had.keys() - named)


def _other(value: str, given: str) -> str:
    return (value if value != given else "another") or "nothing"
