"""What somebody with a login on the node left in our way is refused, in one line, and never followed."""

import os
import stat
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest

from sentinel import private
from sentinel.private import NotPrivateError

root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return private.make_folder(tmp_path / "memory" / "n1")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refused(why: str, path: Path):
    return pytest.raises(NotPrivateError, match=rf"^{path}: .*{why}[^\n]*$")


def test_a_new_folder_is_ours_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert mode(private.make_folder(tmp_path / "a" / "b")) == 0o700
    finally:
        os.umask(before)


def test_a_folder_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(0o755)
    assert mode(private.make_folder(tmp_path / "state")) == 0o700


@pytest.mark.parametrize("bits", [0o770, 0o777, 0o1777, 0o702])
def test_a_folder_to_which_others_could_write_is_refused(tmp_path: Path, bits: int) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(bits)
    with refused("others can write", tmp_path / "state"):
        private.make_folder(tmp_path / "state")


@pytest.mark.parametrize("what", ["link", "dangling link", "file"])
def test_what_is_no_folder_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "state"
    match what:
        case "link":
            private.make_folder(tmp_path / "elsewhere")
            path.symlink_to(tmp_path / "elsewhere")
        case "dangling link":
            path.symlink_to(tmp_path / "nowhere")
        case _:
            path.write_text("")
    with refused("link or no folder", path):
        private.make_folder(path)
    assert not (tmp_path / "nowhere").exists()


@root
def test_another_users_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(0o700)
    os.chown(tmp_path / "state", NOBODY, NOBODY)
    with refused("another user", tmp_path / "state"):
        private.make_folder(tmp_path / "state")


@root
def test_a_folder_that_another_user_can_exchange_is_refused(tmp_path: Path) -> None:
    private.make_folder(tmp_path / "theirs" / "state")
    os.chown(tmp_path / "theirs", NOBODY, NOBODY)
    with refused(f"lies in {tmp_path}/theirs", tmp_path / "theirs" / "state"):
        private.make_folder(tmp_path / "theirs" / "state")


def test_a_folder_below_a_link_is_judged_by_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "open" / "mine").mkdir(0o700)
    (tmp_path / "way").symlink_to(tmp_path / "open" / "mine")
    with refused("others can write", tmp_path / "way" / "state"):
        private.make_folder(tmp_path / "way" / "state")


@root
@pytest.mark.parametrize("to", ["ours", "way-there", "../{}/ours"])
def test_no_other_users_link_leads_to_a_folder(tmp_path: Path, to: str) -> None:
    """In /tmp or /dev/shm anybody may make it, to where a folder of ours is, and lead it elsewhere later."""
    (tmp_path / "ours").mkdir()
    (tmp_path / "way-there").symlink_to("ours")
    (tmp_path / "way").symlink_to(to.format(tmp_path.name))
    os.lchown(tmp_path / ("way-there" if to == "way-there" else "way"), NOBODY, NOBODY)
    tmp_path.chmod(0o1777)
    with refused("another user's", tmp_path / "way" / "sentinel"):
        private.make_folder(tmp_path / "way" / "sentinel" / "n1")
    assert not [*(tmp_path / "ours").iterdir()], "nothing is made there"


def test_a_circle_of_links_is_an_error_and_no_end(tmp_path: Path) -> None:
    (tmp_path / "way").symlink_to(f"../{tmp_path.name}/way")
    with pytest.raises(OSError, match=r"(?i)too many levels"):
        private.make_folder(tmp_path / "way" / "state")


@root
@pytest.mark.parametrize(("bits", "is_refused"), [(0o2775, True), (0o3775, False), (0o2755, False)])
def test_a_folder_that_a_group_can_exchange_is_refused(tmp_path: Path, bits: int, is_refused: bool) -> None:
    (tmp_path / "srv").mkdir()
    os.chown(tmp_path / "srv", 0, NOBODY)
    (tmp_path / "srv").chmod(bits)
    with refused("others can write", tmp_path / "srv" / "state") if is_refused else nullcontext():
        private.make_folder(tmp_path / "srv" / "state")
    assert (tmp_path / "srv" / "state").exists() is not is_refused


def test_a_group_of_its_users_own_number_is_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    os.chown(tmp_path / "home", -1, os.geteuid())
    (tmp_path / "home").chmod(0o775)
    private.make_folder(tmp_path / "home" / "state")


@pytest.mark.parametrize(
    "flags", [os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, os.O_RDWR | os.O_CREAT]
)
@pytest.mark.parametrize("what", ["link", "link to nothing", "fifo", "folder", "socket"])
def test_what_is_no_regular_file_is_neither_followed_nor_waited_for(
    folder: Path, what: str, flags: int
) -> None:
    path, target = folder / "record", folder / "precious"
    target.write_text("precious")
    match what:
        case "link":
            path.symlink_to(target)
        case "link to nothing":
            path.symlink_to(folder / "nothing")
        case "fifo":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case _:
            os.mknod(path, stat.S_IFSOCK | 0o600)
    with refused("a link, a FIFO, a device or a folder", path):
        os.close(private.open_file(path, flags))
    assert target.read_text() == "precious"
    assert not (folder / "nothing").exists()


@root
def test_another_users_file_is_refused(folder: Path) -> None:
    (folder / "record").write_text("forged")
    os.chown(folder / "record", NOBODY, NOBODY)
    with refused("another user", folder / "record"):
        private.read(folder / "record", 100)


def test_a_new_file_is_ours_alone_and_one_of_an_older_release_becomes_so(folder: Path) -> None:
    before = os.umask(0)
    try:
        os.close(private.open_file(folder / "new", os.O_WRONLY | os.O_CREAT))
        (folder / "old").write_text("")
    finally:
        os.umask(before)
    (folder / "old").chmod(0o644)
    private.read(folder / "old", 1)
    assert mode(folder / "new") == mode(folder / "old") == 0o600


def test_a_file_is_replaced_at_once_or_not_at_all(folder: Path) -> None:
    private.write(folder / "card", b"first")
    with suppress(InterruptedError), private.replacing(folder / "card") as descriptor:
        os.write(descriptor, b"half")
        raise InterruptedError
    assert private.read(folder / "card", 100) == b"first"
    assert [path.name for path in folder.iterdir()] == ["card"]


def test_a_link_in_a_files_place_is_replaced_and_not_written_through(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (folder / "card").symlink_to(tmp_path / "precious")
    private.write(folder / "card", b"ours", durable=True)
    assert private.read(folder / "card", 100) == b"ours"
    assert (tmp_path / "precious").read_text() == "precious"


def test_no_more_is_read_than_was_asked_for(folder: Path) -> None:
    private.write(folder / "note", b"x" * 1000)
    assert private.read(folder / "note", 10) == b"x" * 10


def test_no_descriptor_is_left_open(folder: Path) -> None:
    before = len([*Path("/proc/self/fd").iterdir()])
    (folder / "link").symlink_to("x")
    for _ in range(50):
        with pytest.raises(NotPrivateError):
            private.open_file(folder / "link", os.O_RDONLY)
        with pytest.raises(FileNotFoundError, match=str(folder / "none")):
            private.read(folder / "none", 1)
        private.write(folder / "card", b"x")
    assert len([*Path("/proc/self/fd").iterdir()]) == before
