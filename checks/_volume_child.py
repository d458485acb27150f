"""A process that touches volumes, run as a file of its own: one that hangs is left behind and nothing waits.

Each line on standard input is a JSON list: a directory, and the name of a file to try there or an empty one.
Each answer on standard output is a JSON object. It imports little, so that it is small and starts at once.
"""

import ctypes
import errno
import json
import os
import signal
import sys
import time
from pathlib import Path

SIZE = 1 << 20
"""Bytes that are written and read again."""
_PR_SET_PDEATHSIG = 1


def look(path: str, trial: str) -> dict[str, object]:
    """Ask how full a volume is, then try it."""
    try:
        volume = os.statvfs(path)
    except OSError as error:
        return {"error": error.strerror, "failed_with": _name(error)}
    return {
        "total": volume.f_blocks * volume.f_frsize,
        "free": volume.f_bavail * volume.f_frsize,
        "files": volume.f_files,
        "files_free": volume.f_favail,
        "read_only": bool(volume.f_flag & os.ST_RDONLY),
        **(attempt(Path(path, trial)) if trial else {}),
    }


def attempt(path: Path) -> dict[str, object]:
    """Write a small file through to the volume, read it from there again and remove it."""
    data = os.urandom(1 << 12) * (SIZE >> 12)
    began = time.monotonic()
    try:
        path.unlink(missing_ok=True)  # of one that was killed here; others may have put a link in our way
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            wrote_s = _write(descriptor, data) - began
            began = time.monotonic()
            read_s = _read(descriptor) - began
        finally:
            os.close(descriptor)
            path.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            return {"refused": error.strerror}  # it is not ours to write to
        return {"failed": error.strerror, "failed_with": _name(error)}
    return {"write_s": wrote_s, "read_s": read_s}


def _name(error: OSError) -> str:
    return errno.errorcode.get(error.errno or 0, "")


def _write(descriptor: int, data: bytes) -> float:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
    os.fsync(descriptor)
    return time.monotonic()


def _read(descriptor: int) -> float:
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # from the volume, not from memory
    os.lseek(descriptor, 0, os.SEEK_SET)
    while os.read(descriptor, SIZE):
        pass
    return time.monotonic()


def main() -> None:
    """Serve until standard input ends, or the parent does."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        path, trial = json.loads(line)
        print(json.dumps(look(path, trial)), flush=True)


if __name__ == "__main__":
    main()
