"""The kernel log as it grows: `/dev/kmsg`, or the file that a syslog daemon or a demo writes."""

import contextlib
import errno
import os
import re
import time
from collections.abc import Iterable, Iterator
from itertools import accumulate, islice
from pathlib import Path

from sentinel.adapters.bookmark import Bookmark
from sentinel.adapters.kernel_past import Past, survey, tail
from sentinel.model.ids import Seconds
from sentinel.model.kernel_line import KERNEL, LONGEST, Records

LINES = 500
"""Read in one go: as many as are judged in a twentieth of a second, so that a storm delays no report."""
_MAX_LINE = 2 * LONGEST
"""Bytes of a line that are kept until its end comes; its beginning says whose it is."""
_CHUNK = 128 * 1024
_KMSG_RECORD = 8192
_ESCAPED = re.compile(rb"\\x([0-9a-f]{2})")
"""How a record writes what is not printable, the end of a line within a message among them."""
_RECORD = re.compile(rb"(\d{1,10}),(\d{1,18}),(\d{1,18})[,;]")
_BEFORE = 4 * LONGEST
"""Bytes before the bookmark, to see what its first line goes on with."""


class FileFollower:
    """The kernel's lines that a file gains from the bookmark on; without one, from this boot's first line on.

    Whatever else writes to that file is left out, what was repaired before the reader began, and the end of a
    line that is longer than any of the kernel's. Rotation and truncation repeat nothing. The bookmark follows
    when the reader says that what was read is settled.
    """

    def __init__(self, path: Path, bookmark: Path | None = None) -> None:
        self.error = ""
        """Why the log can't be read now; empty when it can."""
        self.read_back = False
        """Whether the lines that `read` gave last were there before this reader began."""
        self._path = path
        self._bookmark = Bookmark(bookmark, 3)
        self.longest = self._bookmark.age()
        """Lines that were there before say nothing from longer ago than this."""
        self._past, self._began = Past(), 0
        self._records = Records()
        self._file = -1
        self._opened = 0, 0
        """Which file that is."""
        self._rest = b""
        self._cut = 0
        """Bytes of the line in `_rest` that were not kept."""
        self._open()
        if self._file >= 0:
            self._begin()

    def _begin(self) -> None:
        """Go where the last reader was, or to this boot's first line; a file that it never saw is all new."""
        now = os.fstat(self._file)
        self._began = now.st_size
        found = self._bookmark.found()
        known = found[2] if (now.st_dev, now.st_ino) == found[:2] and found[2] <= now.st_size else 0
        self._past = survey(tail(self._file, now.st_size, known))
        place = known if found else self._past.begin
        if not found and now.st_mtime < time.time() - time.monotonic():
            place = now.st_size  # nobody wrote in this boot: it is all of another one
        os.lseek(self._file, place, os.SEEK_SET)
        if place > 0:
            before = os.pread(self._file, min(place, _BEFORE), max(0, place - _BEFORE))
            self._heard(before.split(b"\n")[:-1])
        self._keep()

    @property
    def _place(self) -> int:
        """Where the first line begins that was not given."""
        return self._here() - len(self._rest) - self._cut

    def _here(self) -> int:
        """How far the file was read."""
        return os.lseek(self._file, 0, os.SEEK_CUR)

    def settle(self) -> None:
        """Let the next reader begin here: nothing that was read needs to be read again, but half a line."""
        if self._file >= 0:
            with contextlib.suppress(OSError):  # `read` says so
                self._keep()

    def _keep(self) -> None:
        self._bookmark.keep(*self._opened, self._place)

    def fileno(self) -> int:
        """No descriptor tells that a file grew: -1, poll by calling `read`."""
        return -1

    @property
    def behind(self) -> bool:
        """Whether there is more to read at once."""
        if self._file < 0:
            return False
        with contextlib.suppress(OSError):
            return b"\n" in self._rest or self._unread()
        return False

    def read(self) -> list[str]:
        """The kernel's complete lines since the last call, about `LINES` at most: more come with the next."""
        self.read_back = False
        if self._file < 0:
            self._open()
            if self._file < 0:
                return []
            self._past, self._began = Past(), 0
            self._keep()
        try:
            there = self._there()  # asked first: what is written until then is in the old file
            if there == (*self._opened, self._here()) and b"\n" not in self._rest:
                return []
            replaced = there is not None and there[:2] != self._opened
            lines = self._next_lines()
            if replaced and not self.behind:
                self.close()
                self._open()
                self._past, self._began = Past(), 0
                lines += self._next_lines() if self._file >= 0 else []
        except OSError as error:
            self.error = f"{self._path}: {error.strerror}"
            return []
        return self._heard(lines)

    def _heard(self, lines: Iterable[bytes]) -> list[str]:
        """Give what the kernel says in them."""
        texts = (line.lstrip(b"\0").decode(errors="replace") for line in lines)
        return [heard for text in texts if (heard := self._records.hear(text)) is not None]

    def _unread(self) -> bool:
        """Whether the file has more than was read."""
        return self._here() < os.fstat(self._file).st_size

    def _next_lines(self) -> list[bytes]:
        here = self._here()
        if os.fstat(self._file).st_size < here:
            here = os.lseek(self._file, 0, os.SEEK_SET)
            self._rest, self._cut, self._past, self._began = b"", 0, Past(), 0
            self._records = Records()
        place, cut = self._place, self._cut
        if b"\n" not in self._rest:
            old = self._began - here  # what was there before comes by itself
            self._rest += os.read(self._file, min(_CHUNK, old) if old > 0 else _CHUNK)
        *lines, self._rest = self._rest.split(b"\n", LINES)
        self._cut = 0 if lines else cut
        if len(self._rest) > _MAX_LINE and b"\n" not in self._rest:
            self._cut += len(self._rest) - _MAX_LINE
            self._rest = self._rest[:_MAX_LINE]
        self.read_back = place < self._began
        return self._still_true(lines, place, cut) if place < self._past.until else lines

    def _still_true(self, lines: list[bytes], place: int, cut: int) -> list[bytes]:
        """Leave out what was repaired since. Of the first line so many bytes are not here any more."""
        kept = []
        for line in lines:
            kept += [] if self._past.is_old(place, line) else [line]
            place, cut = place + len(line) + cut + 1, 0
        return kept

    def _there(self) -> tuple[int, int, int] | None:
        """Which file has the path now, and how long it is; none between a rename and the new file."""
        try:
            there = self._path.stat()
        except OSError:
            return None
        return there.st_dev, there.st_ino, there.st_size

    def _open(self) -> None:
        self._records = Records()
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            os.lseek(self._file, 0, os.SEEK_SET)  # a pipe or a device can't be read so
            ours = os.fstat(self._file)
            self._opened = ours.st_dev, ours.st_ino
            self.error = ""
        except OSError as error:
            self.close()
            self.error = f"{self._path}: {error.strerror}"

    def close(self) -> None:
        """Let go of the file."""
        if self._file >= 0:
            os.close(self._file)
        self._file, self._rest, self._cut = -1, b"", 0


class KmsgFollower:
    """The records since the bookmark, or all of this boot that the ring holds, each as `dmesg` prints it.

    What was there before the reader began and was repaired since is left out. The kernel's own time at its
    front tells a record that is read again from another one with its words.
    """

    def __init__(self, path: Path = Path("/dev/kmsg"), bookmark: Path | None = None) -> None:
        self.error = ""
        """Why the log can't be read; empty when it can."""
        self.missed = 0
        """Records that the kernel overwrote before they were read, by their sequence numbers."""
        self.read_back = False
        """Whether the lines that `read` gave last were there before this reader began."""
        self._bookmark = Bookmark(bookmark, 1)
        self.longest = self._bookmark.age()
        """Lines that were there before say nothing from longer ago than this."""
        self.behind = True
        """Whether there may be more to read at once; later the descriptor tells."""
        self._sequence: int | None = None
        self._unread: list[str] = []
        self._file = -1
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self.close()
            self.error = f"{path}: {error.strerror}"
            return
        self._unread = self._current()

    def _current(self) -> list[str]:
        """Read what the kernel still holds; give what nobody has read and nobody has repaired."""
        found = self._bookmark.found()
        numbered = [(self._sequence or 0, text) for text in self._records()]
        lines = [text.replace("\n", " ").encode() for _, text in numbered]  # a record is one line
        past = survey([(0, b"\n".join(lines))])
        places = accumulate((len(line) + 1 for line in lines), initial=0)
        return [
            text
            for (number, text), line, place in zip(numbered, lines, places, strict=False)
            if number > (found[0] if found else -1) and not past.is_old(place, line)
        ]

    def settle(self) -> None:
        """Let the next reader begin here: no record that was read needs to be read again."""
        if self._sequence is not None and not self._unread:
            self._bookmark.keep(self._sequence)

    def fileno(self) -> int:
        """A descriptor that is readable when there are records, or -1."""
        return self._file

    def read(self) -> list[str]:
        """The line of every record since the last call, at most `LINES`: more come with the next."""
        self.read_back = bool(self._unread)
        if self.read_back:
            lines, self._unread = self._unread[:LINES], self._unread[LINES:]
        else:
            lines = list(islice(self._records(), LINES))
        self.behind = self.read_back or len(lines) == LINES
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
        _, _, text = record.partition(b";")
        found = _RECORD.match(record)
        if found is None:
            return None
        priority, sequence, microseconds = map(int, found.groups())
        if self._sequence is not None:
            self.missed += sequence - self._sequence - 1
        self._sequence = sequence
        if priority >> 3 != KERNEL:
            return None
        plain = _ESCAPED.sub(lambda found: bytes.fromhex(found[1].decode()), text.split(b"\n", 1)[0])
        return f"[{microseconds / 1e6:12.6f}] {plain.decode(errors='replace')}"[:LONGEST]

    def close(self) -> None:
        """Let go of the device."""
        self.behind = False
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


class NoKernelLog:
    """No kernel log is followed, by choice."""

    error = ""
    read_back = behind = False
    longest: Seconds = 0.0

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


def follow(spec: str, bookmark: Path | None = None) -> FileFollower | KmsgFollower | NoKernelLog:
    """Follow `/dev/kmsg`, a file, or with `none` nothing; from the bookmark that the last reader left."""
    if spec == "none":
        return NoKernelLog()
    if spec == "/dev/kmsg":
        return KmsgFollower(bookmark=bookmark)
    return FileFollower(Path(spec), bookmark)
