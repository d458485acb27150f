"""File systems that could be written to, and have become read-only: the kernel gave them up."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from sentinel.checks._kept import remembered
from sentinel.model.check import Check, Machine
from sentinel.model.finding import Finding, Health

PROC = Path("/proc")
NETWORK = ("nfs", "lustre", "ceph", "cifs", "smb3", "gpfs", "beegfs", "wekafs", "fuse.", "9p", "virtiofs")
"""How the types of those begin that have no device of this machine."""
_ESCAPED = re.compile(r"\\([0-7]{3})")


class Memory(msgspec.Struct):
    """What is remembered: the file systems that could be written to since the machine started."""

    writable: list[str] = []


@dataclass(frozen=True, slots=True)
class MountSample:
    """One file system, by the first place where it is mounted."""

    device: str
    """`major:minor`: of all places where it is mounted the same."""
    path: str
    kind: str
    source: str
    writable: bool
    was_writable: bool = False


def measure(machine: Machine) -> tuple[MountSample, ...]:
    """Read the table of mounts, which touches no file system."""
    text = (PROC / "self/mountinfo").read_text(encoding="utf-8", errors="replace")
    with remembered(machine.kept, "mounts", Memory) as memory:
        return look(text, memory)


def look(text: str, memory: Memory) -> tuple[MountSample, ...]:
    """Read `/proc/self/mountinfo`, and remember what can be written to."""
    found: dict[str, MountSample] = {}
    for line in text.splitlines():
        if (mount := _read(line, memory.writable)) is not None:
            found.setdefault(mount.device, mount)
    here = {_mark(each) for each in found.values()}
    before = {mark for mark in memory.writable if mark in here}
    memory.writable = sorted(before | {_mark(each) for each in found.values() if each.writable})
    return tuple(found.values())


def _mark(mount: MountSample) -> str:
    return f"{mount.device} {mount.kind} {mount.source}"


def _read(line: str, writable: Sequence[str]) -> MountSample | None:
    """Read a line; None for what holds no data, and for lines that are none.

    Whether a file system can be written to is the last field: the options of one place say less.
    """
    place, _, system = line.partition(" - ")
    places, systems = place.split(" "), system.split(" ")
    if len(places) < 6 or len(systems) < 3:
        return None
    kind, source = systems[0], _unescaped(systems[1])
    if not (source.startswith("/dev/") or kind.startswith(NETWORK)):
        return None
    mount = MountSample(places[2], _unescaped(places[4]), kind, source, "ro" not in systems[2].split(","))
    return replace(mount, was_writable=_mark(mount) in writable)


def _unescaped(text: str) -> str:
    r"""Undo `\040` for a blank, as the kernel writes it."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)


def judge(mounts: Sequence[MountSample]) -> Iterator[Finding]:
    """One finding for each file system that has become read-only; one that always was is meant so."""
    for mount in mounts:
        if mount.was_writable and not mount.writable:
            evidence = {"source": mount.source, "type": mount.kind}
            said = f"{mount.path} has become read-only"
            yield Finding("mounts", "mount-read-only", f"disk:{mount.path}", Health.CRITICAL, said, evidence)


CHECK = Check(
    "mounts",
    every=15.0,
    deadline=5.0,
    measure=measure,
    judge=judge,
    causes=("disk-read-only",),
    of_this_host=True,
)
