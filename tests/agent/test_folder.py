"""A folder of ranks' files: each is given once, and one that has not changed is not listed again."""

import os
import time
from pathlib import Path

import pytest

from sentinel.runtime.agent import folder
from sentinel.runtime.agent.folder import Folder, LaterError


class Watched:
    """A folder that was last changed long ago, and how often it is listed."""

    def __init__(self, path: Path, patch: pytest.MonkeyPatch) -> None:
        self.path, self.listed = path, 0
        self.folder = Folder(path, ".beat", "record")
        scandir = os.scandir

        def counted(*given: Path) -> object:
            self.listed += 1
            return scandir(*given)

        patch.setattr(folder.os, "scandir", counted)

    def put(self, name: str, age_s: float = 100.0) -> None:
        (self.path / f"new-{name}").write_text("x")
        (self.path / f"new-{name}").rename(self.path / name)
        os.utime(self.path, (time.time() - age_s,) * 2)

    def new(self) -> list[str]:
        return sorted(each.name for each in self.folder.new())


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(tmp_path / "beats", monkeypatch)


def test_a_folder_that_has_not_changed_is_listed_once(watched: Watched) -> None:
    watched.put("a.beat")
    assert [watched.new() for _ in range(3)] == [["a.beat"], [], []]
    assert watched.listed == 1
    watched.put("b.beat", age_s=50.0)
    assert [watched.new() for _ in range(2)] == [["b.beat"], []]
    watched.put("a.beat", age_s=40.0)
    assert watched.new() == ["a.beat"], "another one in its place"


def test_one_that_was_changed_just_now_is_listed_again(watched: Watched) -> None:
    """Two changes within a tick of the clock leave the same time."""
    watched.put("a.beat", age_s=0.0)
    assert watched.new() == ["a.beat"]
    when = watched.path.stat().st_mtime
    watched.put("b.beat", age_s=0.0)
    os.utime(watched.path, (when, when))
    assert watched.new() == ["b.beat"]


def test_a_file_that_can_not_be_taken_yet_is_given_again(watched: Watched) -> None:
    watched.put("a.beat")
    (path,) = watched.folder.new()
    watched.folder.refuse(path, LaterError())
    assert [watched.new() for _ in range(2)] == [["a.beat"], []]


def test_of_many_files_some_are_given_at_a_time(watched: Watched) -> None:
    for number in range(folder.AT_ONCE + 5):
        watched.put(f"{number}.beat")
    assert [len(watched.new()) for _ in range(3)] == [folder.AT_ONCE, 5, 0]


def test_where_the_file_system_tells_no_times_it_is_listed_each_time(watched: Watched) -> None:
    for name in ("a.beat", "b.beat"):
        watched.put(name)
        os.utime(watched.path, (0, 0))
        assert watched.new() == [name]
