"""Files that nobody else can have put in our way: regular ones, in folders of our own, never by a link.

On a volume that is shared (`shared=True`) they may be other users', for a server may give them any owner:
then only links, FIFOs and what waits are kept out, and what a file says has to prove itself.
"""

import errno
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FOLDER_MODE = 0o700
FILE_MODE = 0o600
UMASK = 0o077
"""Of every process that keeps state: what a library makes there is ours alone, too."""
APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND
"""How a process's log is opened for it."""
MODULE = (sys.executable, "-P", "-m")
"""How we start a module of ours as a process. It imports nothing from the folder in which somebody happens to
start us (`-P`), where others may have put a module of a known name."""
_CLUSTERS = "sentinel-"
"""How the name of a cluster's folder begins, in which those of its nodes lie."""
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_NO_FILE = "is a link, a FIFO, a device or a folder where a file is expected"


class NotPrivateError(OSError):
    """What is there may be somebody else's doing: `strerror` says in one line what, `filename` where."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(errno.EPERM, why, str(path))

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def make_folder(path: Path) -> Path:
    """Make a folder that only we can enter, and those above it, or see that it is one; gives the path.

    One that others can only read is closed to them. Raises NotPrivateError for a link, for another user's
    folder, for one that others can write to, or below one where others can exchange it; OSError otherwise.
    """
    if missing := [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]:
        _trust_above(missing[-1])
    for folder in reversed(missing):
        with suppress(FileExistsError):
            folder.mkdir(FOLDER_MODE)
    _trust_above(path)
    os.close(_folder(path))
    return path


def make_memory(memory: Path) -> Path:
    """Make a node's memory directory, and its cluster's, or see that they are ours alone.

    Raises NotPrivateError where somebody else may have had a hand in it; OSError otherwise.
    """
    if memory.parent.name.startswith(_CLUSTERS):
        make_folder(memory.parent)
    return make_folder(memory)


def make_shared_folder(path: Path) -> Path:
    """Make a folder on a volume that may be shared, ours alone where it was missing; gives the path.

    Raises NotPrivateError where another user's link stands in its place; OSError otherwise.
    """
    for folder in reversed([each for each in (path, *path.parents) if not os.path.lexists(each)]):
        with suppress(FileExistsError):
            folder.mkdir(FOLDER_MODE)
    if stat.S_ISLNK((status := path.lstat()).st_mode) and status.st_uid not in (0, os.geteuid()):
        raise NotPrivateError(path, f"is another user's link (uid {status.st_uid})")
    return path


def open_to_others(path: Path, held: int | None = None) -> str:
    """Say who else can change a file, or what lies in a folder; empty if nobody can. `held`: it is open."""
    status = path.stat() if held is None else os.fstat(held)
    if status.st_uid not in (0, os.geteuid()):
        return f"{path} is another user's (uid {status.st_uid})"
    if status.st_mode & _of_others(status):
        return f"others can write to {path} (mode {status.st_mode & 0o7777:04o})"
    return ""


def open_file(path: Path, flags: int, *, mode: int = FILE_MODE, shared: bool = False) -> int:
    """Open a regular file of ours in a folder of ours; gives its descriptor, which programs do not inherit.

    With O_CREAT it is made as `mode` says; one that more can read, of an older release, is closed to them.
    The folder is looked at alone: whoever made it by `make_folder` has looked at those above.
    Raises NotPrivateError for a link, a FIFO or device, another user's file, or a folder that is not ours;
    OSError otherwise.
    """
    folder = _folder(path.parent, shared)
    try:
        return _file(folder, path, flags, mode, shared)
    finally:
        os.close(folder)


def read(path: Path, most: int, *, shared: bool = False) -> bytes:
    """Read a file as `open_file` opens it, at most so many bytes of it."""
    with os.fdopen(open_file(path, os.O_RDONLY, shared=shared), "rb", buffering=0) as file:
        pieces, left = [], most
        while left and (piece := file.read(left)):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)


@contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[int]:
    """Give the descriptor of a new file that takes this name when all of it was written, and else is gone."""
    folder = _folder(path.parent, shared)
    draft = f".{path.name}.{secrets.token_hex(4)}"
    try:
        descriptor = os.open(
            draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE, dir_fd=folder
        )
        try:
            yield descriptor
            os.replace(draft, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        finally:
            os.close(descriptor)
            with suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=folder)
    finally:
        os.close(folder)


def write(path: Path, content: bytes, *, durable: bool = False, shared: bool = False) -> None:
    """Put a file in place at once: whoever reads finds all of it or what was there before."""
    with replacing(path, shared=shared) as descriptor:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        if durable:
            os.fsync(descriptor)
    if durable:
        folder = _folder(path.parent, shared)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def set_aside(path: Path) -> Path:
    """Give what can't be used another name, so that people may still look at it; gives that."""
    aside = path.with_name(f"{path.name}.damaged-{secrets.token_hex(4)}")
    path.rename(aside)
    return aside


def _folder(path: Path, shared: bool = False) -> int:
    if shared:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except NotADirectoryError:
        raise NotPrivateError(path, "is a link or no folder at all") from None
    with _closed_on_error(descriptor):
        _close_to_others(descriptor, path, FOLDER_MODE)
    return descriptor


def _trust_above(path: Path) -> None:
    """See that nobody but us and root can exchange a folder on the way, or a link that leads there."""
    for each in _way_to(path.absolute()):
        status = each.lstat()
        if status.st_uid not in (0, os.geteuid()):
            raise NotPrivateError(path, f"lies in {each}, which is another user's (uid {status.st_uid})")
        if stat.S_ISDIR(status.st_mode) and status.st_mode & _of_others(status) and not _is_sticky(status):
            raise NotPrivateError(path, f"lies in {each}, to which others can write")


def _way_to(path: Path) -> set[Path]:
    """Give every folder and every link on the way. Raises OSError where links lead in a circle."""
    path.parent.stat()
    way: set[Path] = set()
    left = [*path.parents]
    while left:
        each = left.pop()
        if each not in way and each.is_symlink():
            target = each.parent / each.readlink()
            left += [target, *target.parents]
        way.add(each)
    return way


def _is_sticky(status: os.stat_result) -> bool:
    """Say whether in this folder, such as /tmp, nobody moves what is another's."""
    return bool(status.st_mode & stat.S_ISVTX)


def _of_others(status: os.stat_result) -> int:
    """Give the bits by which others may write; a group of its user's own number has no other member."""
    return stat.S_IWOTH if status.st_gid == status.st_uid else _OTHERS_WRITE


def _file(folder: int, path: Path, flags: int, mode: int, shared: bool) -> int:
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC  # a FIFO must not keep us waiting
    try:
        descriptor = os.open(path.name, flags & ~os.O_TRUNC, mode, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise NotPrivateError(path, _NO_FILE) from None
        raise OSError(error.errno, error.strerror, str(path)) from None
    with _closed_on_error(descriptor):
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotPrivateError(path, _NO_FILE)
        if not shared:
            _close_to_others(descriptor, path, mode)
        elif flags & (os.O_WRONLY | os.O_RDWR) and os.fstat(descriptor).st_nlink > 1:
            raise NotPrivateError(path, "has another name, too, under which it may be precious")
        if flags & os.O_TRUNC:
            os.ftruncate(descriptor, 0)
    return descriptor


def _close_to_others(descriptor: int, path: Path, mode: int) -> None:
    status = os.fstat(descriptor)
    if status.st_uid != os.geteuid():
        raise NotPrivateError(path, f"is another user's (uid {status.st_uid})")
    if status.st_mode & _OTHERS_WRITE & ~mode:
        raise NotPrivateError(path, f"others can write to it (mode {status.st_mode & 0o7777:04o})")
    if status.st_mode & 0o077 & ~mode:
        os.fchmod(descriptor, status.st_mode & (0o700 | mode))


@contextmanager
def _closed_on_error(descriptor: int) -> Iterator[None]:
    try:
        yield
    except BaseException:
        os.close(descriptor)
        raise
