"""A process that touches object stores through fsspec, beside that which touches volumes.

It is asked and answers as that one does, for a URL in the place of a directory. A driver's own threads and
time-outs stay in it, and it is the only one that imports them.
"""

import ctypes
import json
import os
import signal
import sys
import time
from typing import Any

SIZE = 1 << 12
"""Bytes that are put and got again: where a bucket keeps old versions it is a mebibyte a day and node."""
_PR_SET_PDEATHSIG = 1
_WORDS = 200


def look(url: str, trial: str) -> dict[str, object]:
    """Find the driver of a store, then try it."""
    try:
        from fsspec.core import url_to_fs

        store, root = url_to_fs(url)
    except ImportError as error:  # fsspec itself, or the package that the URL's scheme needs
        missing = "install fsspec" if error.name == "fsspec" else _line(error)
        return {"missing": missing}
    except Exception as error:  # drivers raise what they like
        return {"error": _line(error)}
    return attempt(store, f"{root.rstrip('/')}/{trial}") if trial else {}


def attempt(store: Any, name: str) -> dict[str, object]:
    """Put a small object, get it again and remove it."""
    data = os.urandom(SIZE)
    try:
        began = time.monotonic()
        store.pipe_file(name, data)
        wrote_s = time.monotonic() - began
        try:
            began = time.monotonic()
            got = store.cat_file(name)
            read_s = time.monotonic() - began
        finally:
            store.rm_file(name)
    except PermissionError as error:
        return {"refused": _line(error)}  # it is not ours to write to
    except Exception as error:  # drivers raise what they like
        return {"failed": _line(error)}
    if got != data:
        return {"failed": "what was got is not what was put"}
    return {"write_s": wrote_s, "read_s": read_s}


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:_WORDS]


def main() -> None:
    """Serve until standard input ends, or the parent does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a driver prints is no answer
    for line in sys.stdin:
        url, trial = json.loads(line)
        print(json.dumps(look(url, trial)), file=answers, flush=True)


if __name__ == "__main__":
    main()
