"""Apprise: what it reaches by an address gets a page's beginning and end, over a real socket."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hook_process import HookProcess, hook_process
from msgspec.structs import replace
from pagers import SENDER, Pagers
from slack_process import page

from sentinel import config
from sentinel.adapters import receivers

pytest.importorskip("apprise")


@pytest.fixture
def hook() -> Iterator[HookProcess]:
    with hook_process() as server:
        yield server


def table(folder: Path, url: str, **more: Any) -> dict[str, dict[str, Any]]:
    (folder / "url").write_text(f"{url}\n")
    return {"mail": {"kind": "apprise", "url_file": str(folder / "url"), **more}}


def to(hook: HookProcess, wait: int = 10) -> str:
    return f"json://127.0.0.1:{hook.port}/pages?cto=10&rto={wait}"


def titles(hook: HookProcess) -> list[str]:
    return [post["title"].split(":")[0] for post in hook.posts()]


def test_beginning_and_end_are_told_and_what_lies_between_is_not(hook: HookProcess, tmp_path: Path) -> None:
    pagers = Pagers(tmp_path, table(tmp_path, to(hook)))
    for told in (page("I-1", 1, thread="a stack"), page("I-1", 2, "mitigating"), page("I-1", 3, "resolved")):
        pagers.keep(replace(told, cause="gpu-lost", severity="warning"))
        pagers.deliver(lambda: pagers.has_all("mail"))
    assert [(each["type"], each["title"][2:20]) for each in hook.posts()] == [
        ("warning", "FIRING warning blu"),
        ("success", "RESOLVED warning b"),
    ]
    assert "http://head/logbook/I-1" in hook.posts()[0]["message"]


def test_an_end_is_told_once_and_again_only_after_it_began_anew(hook: HookProcess, tmp_path: Path) -> None:
    pagers = Pagers(tmp_path, table(tmp_path, to(hook)))
    for number, stage in enumerate(["open", "resolved", "resolved", "mitigating", "resolved"], start=1):
        pagers.keep(page("I-1", number, stage))
        pagers.deliver(lambda: pagers.has_all("mail"))
    assert [each["title"].split()[1] for each in hook.posts()] == ["FIRING", "RESOLVED", "RESOLVED"]


@pytest.mark.parametrize(
    ("trouble", "marked"),
    [(500, False), (429, False), (403, False), ("silent", True)],
)
def test_only_a_page_that_may_have_arrived_is_marked_when_it_comes_again(
    hook: HookProcess, tmp_path: Path, trouble: int | str, marked: bool
) -> None:
    pagers = Pagers(tmp_path, table(tmp_path, to(hook, wait=1 if marked else 10)))
    hook.answer(trouble)
    pagers.keep(page("I-1", 1))
    pagers.deliver(pagers.has_all, lambda: dict(pagers.dispatcher.standing())["mail"].failing)
    hook.answer(200)
    pagers.deliver(lambda: pagers.has_all("mail"))
    [post] = hook.posts()
    assert ("possible duplicate" in post["title"]) == marked


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nosuch://s3cret-s3cret", "Apprise knows no such address"),
        ("json://a json://b", "expected one address, for each has an outbox of its own, got 2"),
        ("", "expected one address, for each has an outbox of its own, got 0"),
    ],
)
def test_an_address_that_can_not_work_is_one_line_without_it(tmp_path: Path, text: str, why: str) -> None:
    settings = config.Settings(
        receivers={name: config.Receiver(**each) for name, each in table(tmp_path, text).items()}
    )
    with pytest.raises(config.ConfigError, match=f"receivers.mail.url_file: {why}") as refused:
        receivers.load(settings, SENDER)
    assert "s3cret" not in str(refused.value)


def test_without_the_library_it_is_said_how_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    settings = config.Settings(
        receivers={name: config.Receiver(**each) for name, each in table(tmp_path, "json://a").items()}
    )
    with pytest.raises(config.ConfigError, match=r"receivers.mail: Apprise is not installed: pip install"):
        receivers.load(settings, SENDER)
