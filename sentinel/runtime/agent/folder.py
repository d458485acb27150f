"""A folder in which ranks leave files for their agent: each is taken up once, a few at a time."""

import errno
import os
import time
from itertools import islice
from pathlib import Path

import structlog

from sentinel import private

log = structlog.get_logger(logger_name="agent")

MOST = 4096
"""Files that are looked at; a node has a few for each of its ranks."""
AT_ONCE = 32
"""New files that are given in one go, so that many of them delay no report."""
_PASSING = frozenset({errno.ENOENT, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Why a file can't be read now, and says nothing against it: it is just removed, or we may open no more."""
_SAID = 200
_SETTLED_NS = 1_000_000_000
"""A folder that was changed longer ago than this is changed later with another time: its clock is coarse."""


class LaterError(Exception):
    """A file can't be taken yet: it will be given again, and nobody is told."""


class Folder:
    """The files of one kind in a folder of ours. Raises NotPrivateError where it may be somebody else's."""

    def __init__(self, path: Path, suffix: str, what: str) -> None:
        """`what`: how the log calls such a file."""
        self._path = private.make_folder(path)
        self._what = what
        self._suffix = suffix
        self._given: dict[str, int] = {}
        """Name → inode: another file in its place is a new one."""
        self._wrong = ""
        self._settled_ns = 0
        """When the folder, all of whose files are given, was last changed; 0 if that is not so or known."""

    def new(self) -> list[Path]:
        """Give files that were not given yet; log, once, what is wrong with the folder."""
        try:
            changed_ns = self._path.stat().st_mtime_ns
            if changed_ns and changed_ns == self._settled_ns:
                return []
            there, wrong = self._list()
        except OSError as error:
            changed_ns, there, wrong = 0, {}, error.strerror or str(error)
        if wrong and wrong != self._wrong:
            log.warning(f"{self._what}s-unreadable", path=str(self._path), error=wrong)
        self._wrong = wrong
        self._given = {name: inode for name, inode in self._given.items() if there.get(name) == inode}
        new = [*islice((name for name in there if name not in self._given), AT_ONCE)]
        self._given |= {name: there[name] for name in new}
        is_settled = len(self._given) == len(there) and abs(time.time_ns() - changed_ns) > _SETTLED_NS
        self._settled_ns = changed_ns if is_settled else 0
        return [self._path / name for name in new]

    def refuse(self, path: Path, error: Exception) -> None:
        """Log why a file is not taken, once; one that only can't be read now will be given again."""
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(error, LaterError) or (isinstance(cause, OSError) and cause.errno in _PASSING):
            self._given.pop(path.name, None)
            self._settled_ns = 0
        else:
            log.warning(f"{self._what}-refused", path=str(path), error=str(error)[:_SAID])

    def _list(self) -> tuple[dict[str, int], str]:
        with os.scandir(self._path) as entries:
            there = {each.name: each.inode() for each in islice(entries, MOST) if self._is_one(each.name)}
            more = next(entries, None)
        return there, "" if more is None else f"holds more than {MOST} files: the others are not looked at"

    def _is_one(self, name: str) -> bool:
        return name.endswith(self._suffix) and not name.startswith(".")
