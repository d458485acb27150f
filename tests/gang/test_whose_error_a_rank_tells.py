"""What a rank says of an exception tells whether the code is wrong, or what it stands on."""

import errno
import ssl

import pytest

pytest.importorskip("torch")

from sentinel.gang.telling import in_one_line
from sentinel.model.outside import Whose, whose


class MyStoreError(OSError):
    def __str__(self) -> str:
        return "shard 7"


def raised(
    make: "type[Exception] | Exception", because: Exception | None = None, *, hidden: bool = False
) -> Exception:
    """Give an exception as a rank meets it: raised while another one was handled, or by itself."""
    try:
        if because is None:
            raise make
        try:
            raise because
        except Exception:
            if hidden:
                raise make from None
            raise make  # noqa: B904 (as most code does)
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("error", "who"),
    [
        (raised(OSError(errno.EIO, "Input/output error", "/data/7")), Whose.STORAGE),
        (raised(MyStoreError(errno.ESTALE, "Stale file handle")), Whose.STORAGE),
        (raised(TimeoutError()), Whose.NETWORK),
        (raised(ConnectionResetError(errno.ECONNRESET, "reset")), Whose.NETWORK),
        (raised(FileNotFoundError(errno.ENOENT, "No such file", "/data/7")), Whose.SETTING),
        (raised(ValueError("no shard 7"), OSError(errno.EIO, "Input/output error")), Whose.STORAGE),
        (raised(ValueError("no 7"), OSError(errno.EIO, "I/O error"), hidden=True), Whose.CODE),
        (raised(ValueError("shape mismatch"), KeyError("x")), Whose.CODE),
        (
            raised(OSError("Caught OSError in a worker.\nTraceback\nOSError: [Errno 5] I/O error\n")),
            Whose.STORAGE,
        ),
        (raised(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")), Whose.CODE),
        (raised(KeyError("timeout")), Whose.CODE),
    ],
    ids=str,
)
def test_whose(error: Exception, who: Whose) -> None:
    line = in_one_line(error)
    assert "\n" not in line
    assert whose(line) is who


def test_what_decided_is_said() -> None:
    line = in_one_line(raised(ValueError("no shard 7"), OSError(errno.EIO, "Input/output error", "/data/7")))
    assert line == "ValueError: no shard 7; because of OSError: [Errno 5] Input/output error: '/data/7'"
