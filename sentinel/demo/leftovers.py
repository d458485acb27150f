"""What a demo that was killed left behind: whose it was, and taking it away."""

import json
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from sentinel import private
from sentinel.demo.hosts import kill_all
from sentinel.demo.network import remove_left

OWNER = "owner.json"
PREFIX = "sentinel-"
_LONGEST = 4096
"""Bytes of a note that are looked at."""


def root_of(name: str) -> Path:
    """The directory of the cluster of this name; short, for a socket's path has at most 107 bytes."""
    return Path(tempfile.gettempdir()) / f"{PREFIX}{name}"


def sign(root: Path) -> None:
    """Make a cluster's directory, with a note that it is this process's."""
    root.mkdir(mode=0o700)
    (root / OWNER).write_text(json.dumps(_identity(os.getpid())))


def sweep() -> list[str]:
    """Remove the clusters whose owner has died: processes, namespaces, mounts, files; gives their names."""
    gone = [note.parent for note in root_of("").parent.glob(f"{PREFIX}*/{OWNER}") if _is_left(note)]
    for root in gone:
        remove(root)
    return [root.name.removeprefix(PREFIX) for root in gone]


def _is_left(note: Path) -> bool:
    """Whether this user's process that signed is gone; one of another container can't be told from here."""
    try:
        owner = json.loads(private.read(note, _LONGEST))
        mine = owner["pids"] == _pids()
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(mine and owner != _identity(owner["pid"]))


def remove(root: Path) -> None:
    """Remove all of a cluster that its name leads to; its directory, which names it, last."""
    name = root.name.removeprefix(PREFIX)
    with suppress(TimeoutError):  # one that sleeps in the kernel: the rest goes all the same
        kill_all([root, *(path for path in root.iterdir() if path.is_dir())])
    remove_left(name)
    for mount in _mounts_below(root):
        subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
    shutil.rmtree(Path("/dev/shm") / f"{PREFIX}{name}", ignore_errors=True)  # noqa: S108 (where hosts keep it)
    shutil.rmtree(root, ignore_errors=True)


def _identity(pid: int) -> dict[str, object]:
    """A process as no other will ever be: its pid, its start time, and whose numbers these are."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        stat = ["X"] * 20
    alive = stat[0] not in "XZ"
    return {"pid": pid, "started": stat[19] if alive else "", "pids": _pids()}


def _pids() -> str:
    return os.readlink("/proc/self/ns/pid")  # noqa: PTH115 (no path, a name such as pid:[4026531836])


def _mounts_below(root: Path) -> list[str]:
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [path for path in reversed(mounted) if path.startswith(f"{root}/")]
