"""Which errors of training code say that the code is wrong, and which that what it stands on is.

An exception is known by its line, `OSError: [Errno 5] Input/output error: '/data/7'`: so the journal has it.
"""

import errno
import re
from enum import StrEnum


class Whose(StrEnum):
    """Who has to look at an exception."""

    CODE = "code"
    SETTING = "setting"
    """A path, a name or a permission is not as the job expects it: to run it again changes nothing."""
    STORAGE = "storage"
    NETWORK = "network"

    @property
    def is_outside(self) -> bool:
        """Whether it may be over by itself: the code did what it should, and was given an error."""
        return self in (Whose.STORAGE, Whose.NETWORK)


BECAUSE = "; because of "
"""Before the exception that tells whose it is, where another one was raised for its sake."""

_NUMBER = re.compile(r"\[Errno (-?\d+)\]")
_BY_NUMBER: dict[int, Whose] = {
    **dict.fromkeys(
        (
            errno.EIO, errno.ENXIO, errno.ENODEV, errno.EBUSY, errno.ENOSPC, errno.EROFS, errno.EDQUOT,
            errno.ESTALE, errno.EREMOTEIO, errno.EUCLEAN, errno.EBADMSG, errno.ENODATA, errno.ENOLCK,
            errno.ENOMEDIUM, errno.ENOTCONN, errno.ESHUTDOWN,
        ),
        Whose.STORAGE,  # ENOTCONN: the process behind a FUSE mount is dead; EUCLEAN, EBADMSG: XFS, ext4
    ),
    **dict.fromkeys(
        (
            errno.ETIMEDOUT, errno.ETIME, errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED,
            errno.EPIPE, errno.ENETDOWN, errno.ENETUNREACH, errno.ENETRESET, errno.EHOSTDOWN,
            errno.EHOSTUNREACH, errno.ENOLINK, errno.ECOMM, errno.EPROTO, -3, -4,
        ),
        Whose.NETWORK,  # -3 and -4 are the resolver's: it could not ask, or was not answered
    ),
    **dict.fromkeys(
        (
            errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ELOOP,
            errno.ENAMETOOLONG, -2, -5,
        ),
        Whose.SETTING,  # -2 and -5: a host of this name, or an address of it, is not known
    ),
}  # fmt: skip
_BY_TYPE: tuple[tuple[re.Pattern[str], Whose], ...] = (
    (re.compile(r"FileNotFound|Permission|IsADirectory|NotADirectory|FileExists"), Whose.SETTING),
    (re.compile(r"CertVerif|Credentials|AccessDenied|Unauthorized|Forbidden"), Whose.SETTING),
    (re.compile(r"(?i:time[d-]?out)|(?i:connect)|BrokenPipe|ServiceUnavailable|SlowDown"), Whose.NETWORK),
)
_ASKED_A_SERVER = re.compile(r"HTTP|Client|Response|Server|Status")
_SERVER_FAILED = re.compile(r"\b(408|429|5\d\d)\b|\bSlowDown\b|\bInternalError\b")
"""Of an object store or another service over HTTP: busy, or in trouble."""


def whose(error: str) -> Whose:
    """Tell from an exception's line, `TypeError: …`, whether the code is wrong or what it stands on."""
    deciding = error.rpartition(BECAUSE)[2]
    kind, colon, text = deciding.partition(":")
    if number := _NUMBER.search(deciding):
        return _BY_NUMBER.get(int(number[1]), Whose.CODE)
    name = kind.rpartition(".")[2].strip() if colon else ""
    if _ASKED_A_SERVER.search(name) and _SERVER_FAILED.search(text):
        return Whose.NETWORK
    return next((found for pattern, found in _BY_TYPE if pattern.search(name)), Whose.CODE)


_QUOTED = re.compile(r"(?<!\w)'([^']+)'|\"([^\"]+)\"")
_PEER = re.compile(r"\w+://[^\s'\")]+|\('([^']+)', (\d+)\)|\bhost='([^']+)', port=(\d+)|\b[\w.-]+:\d{2,5}\b")


def named(error: str) -> str:
    """Give the path, or the peer, that an exception's line names; empty if it names none."""
    deciding = error.rpartition(BECAUSE)[2].partition(":")[2]
    if whose(error) is Whose.NETWORK:
        peer = _PEER.search(deciding)
        return ":".join(filter(None, peer.groups())) or peer[0] if peer else ""
    paths = [one or other for one, other in _QUOTED.findall(deciding)]
    return next((path for path in paths if "/" in path), "")
