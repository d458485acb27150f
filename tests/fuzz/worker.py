"""One process that is fed: `python -m tests.fuzz.worker MODULE SEED UNTIL COUNT_FILE`."""

import resource
import sys
import tempfile
from pathlib import Path

from sentinel import logs
from tests.fuzz.feed import Note, feed

MEMORY_BYTES = 8 << 30
"""An input that asks for more has ended a process of a node that trains."""


def main() -> None:
    """Feed until all is through, or an input ends this process."""
    module, seed, until, path = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    logs.to_stdout()
    note = Note.at(Path(path))
    with tempfile.TemporaryDirectory(dir=Path(path).parent) as folder:
        feed(module, seed, Path(folder), int(until), note.write, note.read())


if __name__ == "__main__":
    main()
