"""The kernel log as it grows: `/dev/kmsg`, or the file that a syslog daemon or a demo writes."""

import contextlib
import errno
import os
import re
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from uuid import UUID

from sentinel.model.ids import Seconds
from sentinel.model.kernel_line import KERNEL, LONGEST, said

_CHUNK = 1 << 20
_KMSG_RECORD = 8192
_MAX_LINE = 64 * 1024
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")
"""How a record writes what is not printable, the end of a line within a message among them."""
_TOUCH_EVERY: Seconds = 5.0
READ_BACK: Seconds = 60.0
"""A new agent reads what was written since the last one, if that was not longer ago: what a person has
repaired meanwhile is no news."""


class Bookmark:
    """How far a node's kernel log was read and told, kept in a file for the node's next agent."""

    def __init__(self, path: Path | None) -> None:
        """Keep it at `path`; None: nobody reads on."""
        self._path = path
        self._kept: tuple[int, ...] = ()
        self._touched = 0.0

    def found(self) -> tuple[int, ...]:
        """Return where the last reader was; nothing if that was too long ago, or is not known."""
        with contextlib.suppress(OSError, ValueError):
            if self._path and time.time() - self._path.stat().st_mtime < READ_BACK:
                return tuple(map(int, self._path.read_text().split()))
        return ()

    def keep(self, *place: int) -> None:
        """Write down where the next reader begins, and now and then that this one still is there."""
        now = time.monotonic()
        if self._path is None or not place or (place == self._kept and now < self._touched + _TOUCH_EVERY):
            return
        self._kept, self._touched = place, now
        draft = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full memory directory must not end the watching
            draft.write_text(" ".join(map(str, place)))
            draft.replace(self._path)


class FileFollower:
    """The kernel's lines that a file gains after now, or after the bookmark; rotation repeats none.

    Whatever else writes to that file is left out, and what is longer than any line of the kernel is cut.
    The bookmark follows when the reader says that what was read is settled.
    """

    def __init__(self, path: Path, bookmark: Path | None = None) -> None:
        self.error = ""
        """Why the log can't be read now; empty when it can."""
        self._path = path
        self._bookmark = Bookmark(bookmark)
        self._settled: tuple[int, ...] = ()
        """Where the next reader is to begin."""
        self._file = -1
        self._rest = b""
        self._open()
        if self._file >= 0:
            os.lseek(self._file, *self._start())
            self.settle()

    def _start(self) -> tuple[int, int]:
        """Where to begin: at the end, or where the last reader was; a file that it never saw is all new."""
        if not (found := self._bookmark.found()):
            return 0, os.SEEK_END
        now, (device, inode, place) = os.fstat(self._file), found
        same = (now.st_dev, now.st_ino) == (device, inode) and place <= now.st_size
        return (place if same else 0), os.SEEK_SET

    def settle(self) -> None:
        """Let the next reader begin here: nothing that was read needs to be read again, but half a line."""
        if self._file < 0:
            return
        with contextlib.suppress(OSError):  # `read` says so
            file, place = os.fstat(self._file), os.lseek(self._file, 0, os.SEEK_CUR) - len(self._rest)
            self._settled = (file.st_dev, file.st_ino, place)
            self._bookmark.keep(*self._settled)

    def fileno(self) -> int:
        """No descriptor tells that a file grew: -1, poll by calling `read`."""
        return -1

    def read(self) -> list[str]:
        """Every complete line of the kernel's since the last call."""
        self._bookmark.keep(*self._settled)
        if self._file < 0:
            self._open()
            if self._file < 0:
                return []
            self.settle()
        try:
            replaced = self._was_replaced()  # asked first: what is written until then is in the old file
            lines = self._rest_of_file()
            if replaced and not self._behind():
                self.close()
                self._open()
                lines += self._rest_of_file() if self._file >= 0 else []
        except OSError as error:
            self.error = f"{self._path}: {error.strerror}"
            return []
        return [line[:LONGEST] for line in lines if said(line) is not None]

    def _behind(self) -> bool:
        """Whether the file has more than was read."""
        return os.lseek(self._file, 0, os.SEEK_CUR) < os.fstat(self._file).st_size

    def _rest_of_file(self) -> list[str]:
        if os.fstat(self._file).st_size < os.lseek(self._file, 0, os.SEEK_CUR):
            os.lseek(self._file, 0, os.SEEK_SET)
            self._rest = b""
        *lines, self._rest = (self._rest + os.read(self._file, _CHUNK)).split(b"\n")
        self._rest = self._rest[:_MAX_LINE]  # its beginning says whose it is
        return [line.decode(errors="replace") for line in lines]

    def _was_replaced(self) -> bool:
        try:
            there = self._path.stat()
        except OSError:
            return False  # between the rename and the new file
        ours = os.fstat(self._file)
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def _open(self) -> None:
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            self.error = ""
        except OSError as error:
            self.error = f"{self._path}: {error.strerror}"

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
        self._file, self._rest = -1, b""


class KmsgFollower:
    """The records that the kernel writes after now, or after the bookmark, each a line as `dmesg` prints it.

    The kernel's own time at its front tells a record that is read again from another one with its words.
    """

    def __init__(self, path: Path = Path("/dev/kmsg"), bookmark: Path | None = None) -> None:
        self.error = ""
        """Why the log can't be read; empty when it can."""
        self.missed = 0
        """Records that the kernel overwrote before they were read, by their sequence numbers."""
        self._bookmark = Bookmark(bookmark)
        self._sequence: int | None = None
        self._settled: tuple[int, ...] = ()
        self._unread: list[str] = []
        self._file = -1
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self.close()
            self.error = f"{path}: {error.strerror}"
            return
        self._unread = self._since_bookmark()

    def _since_bookmark(self) -> list[str]:
        """Read what the kernel still holds, to learn its newest number; give what nobody has read."""
        found = self._bookmark.found()
        numbered = [(self._sequence or 0, text) for text in self._records()]
        if len(found) != 2 or found[0] != _boot():
            self.settle()
            return []
        self._settled = found
        return [text for number, text in numbered if number > found[1]]

    def settle(self) -> None:
        """Let the next reader begin here: no record that was read needs to be read again."""
        if self._sequence is not None and not self._unread:
            self._settled = (_boot(), self._sequence)
            self._bookmark.keep(*self._settled)

    def fileno(self) -> int:
        """A descriptor that is readable when there are records, or -1."""
        return self._file

    def read(self) -> list[str]:
        """The line of every record since the last call."""
        self._bookmark.keep(*self._settled)
        lines, self._unread = [*self._unread, *self._records()], []
        return lines

    def _records(self) -> Iterator[str]:
        while self._file >= 0:
            try:
                message = self._message(os.read(self._file, _KMSG_RECORD))
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.EPIPE:  # EPIPE: overwritten, the next read gives the oldest left
                    self.error = f"/dev/kmsg: {error.strerror}"
                    return
            else:
                if message is not None:
                    yield message

    def _message(self, record: bytes) -> str | None:
        """Make `6,1234,5678,-;text` the line `[    0.005678] text` and keep count of what was skipped.

        What a process wrote to the device is nothing: its facility is not the kernel's.
        """
        head, _, text = record.partition(b";")
        priority, sequence, microseconds = map(int, head.split(b",")[:3])
        if self._sequence is not None:
            self.missed += sequence - self._sequence - 1
        self._sequence = sequence
        if priority >> 3 != KERNEL:
            return None
        plain = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), text.split(b"\n", 1)[0])
        return f"[{microseconds / 1e6:12.6f}] {plain.decode(errors='replace')}"[:LONGEST]

    def close(self) -> None:
        """Let go of the device."""
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


class NoKernelLog:
    """No kernel log is followed, by choice."""

    error = ""

    def fileno(self) -> int:
        """Nothing to poll."""
        return -1

    def read(self) -> list[str]:
        """Nothing."""
        return []

    def settle(self) -> None:
        """Nothing was read."""

    def close(self) -> None:
        """Nothing to let go of."""


@cache
def _boot() -> int:
    """Number of this boot of the kernel: its records are counted anew in the next."""
    return UUID(Path("/proc/sys/kernel/random/boot_id").read_text().strip()).int


def follow(spec: str, bookmark: Path | None = None) -> FileFollower | KmsgFollower | NoKernelLog:
    """Follow `/dev/kmsg`, a file, or with `none` nothing; from the bookmark that the last reader left."""
    if spec == "none":
        return NoKernelLog()
    if spec == "/dev/kmsg":
        return KmsgFollower(bookmark=bookmark)
    return FileFollower(Path(spec), bookmark)
