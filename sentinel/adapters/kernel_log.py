"""The kernel log as it grows: `/dev/kmsg`, or the file that a syslog daemon or a demo writes."""

import errno
import os
from pathlib import Path

_CHUNK = 1 << 20
_KMSG_RECORD = 8192
_MAX_LINE = 64 * 1024


class FileFollower:
    """The lines that a file gains after now; rotation and truncation lose none and repeat none."""

    def __init__(self, path: Path) -> None:
        self.error = ""
        """Why the log can't be read now; empty when it can."""
        self._path = path
        self._file = -1
        self._rest = b""
        self._open()
        if self._file >= 0:
            os.lseek(self._file, 0, os.SEEK_END)

    def fileno(self) -> int:
        """No descriptor tells that a file grew: -1, poll by calling `read`."""
        return -1

    def read(self) -> list[str]:
        """Every complete line since the last call."""
        if self._file < 0:
            self._open()
            if self._file < 0:
                return []
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
        return lines

    def _behind(self) -> bool:
        """Whether the file has more than was read."""
        return os.lseek(self._file, 0, os.SEEK_CUR) < os.fstat(self._file).st_size

    def _rest_of_file(self) -> list[str]:
        if os.fstat(self._file).st_size < os.lseek(self._file, 0, os.SEEK_CUR):
            os.lseek(self._file, 0, os.SEEK_SET)
            self._rest = b""
        *lines, self._rest = (self._rest + os.read(self._file, _CHUNK)).split(b"\n")
        self._rest = self._rest[-_MAX_LINE:]
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
    """The records that the kernel writes after now; `/dev/kmsg` gives one record a read."""

    def __init__(self, path: Path = Path("/dev/kmsg")) -> None:
        self.error = ""
        """Why the log can't be read; empty when it can."""
        self.missed = 0
        """Records that the kernel overwrote before they were read, by their sequence numbers."""
        self._sequence: int | None = None
        self._file = -1
        try:
            self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._file, 0, os.SEEK_END)
        except OSError as error:
            self.close()
            self.error = f"{path}: {error.strerror}"

    def fileno(self) -> int:
        """A descriptor that is readable when there are records, or -1."""
        return self._file

    def read(self) -> list[str]:
        """The message of every record since the last call."""
        lines: list[str] = []
        while self._file >= 0:
            try:
                lines.append(self._message(os.read(self._file, _KMSG_RECORD)))
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.EPIPE:  # EPIPE: overwritten, the next read gives the oldest left
                    self.error = f"/dev/kmsg: {error.strerror}"
                    break
        return lines

    def _message(self, record: bytes) -> str:
        """Take `6,1234,5678,-;text` apart and keep count of what was skipped."""
        head, _, text = record.partition(b";")
        sequence = int(head.split(b",")[1])
        if self._sequence is not None:
            self.missed += sequence - self._sequence - 1
        self._sequence = sequence
        return text.split(b"\n", 1)[0].decode(errors="replace")

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

    def close(self) -> None:
        """Nothing to let go of."""


def follow(spec: str) -> FileFollower | KmsgFollower | NoKernelLog:
    """Follow `/dev/kmsg`, a file, or with `none` nothing."""
    if spec == "none":
        return NoKernelLog()
    return KmsgFollower() if spec == "/dev/kmsg" else FileFollower(Path(spec))
