"""Pages to who is on call, over real sockets: who is asked when, also after a restart, and until when."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hook_process import HookProcess, hook_process
from msgspec.structs import replace
from pagers import Pagers
from slack_process import page

from sentinel import config
from sentinel.adapters import dispatcher
from sentinel.oncall import routes
from sentinel.oncall.plan import Plan
from sentinel.oncall.rota import Level, Person, Rota, Shift

AT_ONCE = 0.3
"""How long each level has here."""


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatcher, "LOOKS_EVERY_S", 0.02)


@pytest.fixture
def hooks() -> Iterator[Mapping[str, HookProcess]]:
    with hook_process() as ada, hook_process() as ben, hook_process() as wall:
        yield {"to-ada": ada, "to-ben": ben, "wall": wall}


def rota(next_s: float) -> Rota:
    def always(person: str) -> Any:
        return lambda: [Shift(0.0, 1e11, person)]

    people = {"ada": Person(("to-ada",)), "ben": Person(("to-ben",))}
    return Rota(people, [Level("1", next_s, None, always("ada")), Level("2", next_s, None, always("ben"))])


def desk(folder: Path, hooks: Mapping[str, HookProcess], plan: Plan) -> Pagers:
    tables = {name: {"kind": "webhook", "url": each.url} for name, each in hooks.items()}
    return Pagers(folder, tables, plan=plan)


def events(hook: HookProcess) -> list[str]:
    return [post["event"] for post in hook.posts()]


def caused(revision: int = 1, stage: str = "open", **more: Any) -> Any:
    return replace(page("I-1", revision, stage), cause="gpu-lost", severity="critical", **more)


def test_the_next_is_asked_when_nobody_acknowledges(hooks: Mapping[str, HookProcess], tmp_path: Path) -> None:
    pagers = desk(tmp_path, hooks, Plan(rota=rota(AT_ONCE)))
    pagers.keep(caused())
    pagers.deliver(lambda: bool(hooks["to-ben"].posts()))
    [first], [second] = hooks["to-ada"].posts()[:1], hooks["to-ben"].posts()[:1]
    assert first["asked"].startswith("Asked: ada ")
    assert "next, unless somebody acknowledges: ben " in first["asked"]
    assert "ben" in second["asked"]
    assert "next" not in second["asked"]
    pagers.keep(caused(2, "resolved"))
    pagers.deliver(lambda: pagers.has_all(*hooks))
    assert [events(each)[-1] for each in hooks.values()] == ["resolve"] * 3


def test_who_acknowledges_lets_the_next_sleep(hooks: Mapping[str, HookProcess], tmp_path: Path) -> None:
    pagers = desk(tmp_path, hooks, Plan(rota=rota(AT_ONCE)))
    pagers.keep(caused(), caused(2, acked_by="ada"))
    pagers.deliver(lambda: pagers.has_all(*hooks))
    over = time.time() + 2 * AT_ONCE
    pagers.deliver(lambda: time.time() > over)
    assert hooks["to-ben"].posts() == []
    assert hooks["to-ada"].posts()[-1]["acknowledged_by"] == "ada"


def test_what_is_new_since_somebody_acknowledged_is_asked_from_the_first_again(
    hooks: Mapping[str, HookProcess], tmp_path: Path
) -> None:
    pagers = desk(tmp_path, hooks, Plan(rota=rota(3 * AT_ONCE)))
    pagers.keep(caused(), caused(2, acked_by="ada"))
    over = time.time() + 3 * AT_ONCE
    pagers.deliver(lambda: time.time() > over)
    new = time.time()
    pagers.keep(caused(3))
    pagers.deliver(lambda: "reminder" in events(hooks["to-ada"]))
    assert "ada had acknowledged I-1, and this is new" in hooks["to-ada"].posts()[-1]["text"]
    assert hooks["to-ben"].posts() == []
    pagers.deliver(lambda: bool(hooks["to-ben"].posts()))
    assert time.time() >= new + 3 * AT_ONCE


def test_without_a_plan_it_is_said_again_too(hooks: Mapping[str, HookProcess], tmp_path: Path) -> None:
    pagers = desk(tmp_path, hooks, Plan())
    pagers.keep(caused(), caused(2, acked_by="ada"))
    pagers.deliver(lambda: pagers.has_all(*hooks))
    assert "reminder" not in events(hooks["wall"])
    pagers.keep(caused(3), caused(4))
    pagers.deliver(lambda: pagers.has_all(*hooks), lambda: "reminder" in events(hooks["wall"]))
    assert (tmp_path / "pages.log").read_text().count("ada had acknowledged I-1, and this is new") == 1


def test_a_restart_asks_the_next_when_it_would_have_been_asked(
    hooks: Mapping[str, HookProcess], tmp_path: Path
) -> None:
    before = desk(tmp_path, hooks, Plan(rota=rota(AT_ONCE)))
    before.keep(caused())
    before.deliver(lambda: before.has_all("to-ada"))
    after = desk(tmp_path, hooks, Plan(rota=rota(AT_ONCE)))
    after.deliver(lambda: bool(hooks["to-ben"].posts()))
    assert [hooks[name].known() for name in ("to-ada", "to-ben")] == [[("page", 1)]] * 2


def test_it_is_repeated_until_somebody_acknowledges(hooks: Mapping[str, HookProcess], tmp_path: Path) -> None:
    tables = {"again": config.Route(receivers=("wall",), repeat_s=0.1)}
    found = {name: config.Receiver() for name in hooks}
    plan = Plan(routes.read(config.Settings(routes=tables, receivers=found)))
    pagers = desk(tmp_path, hooks, plan)
    pagers.keep(caused())
    pagers.deliver(lambda: events(hooks["wall"]).count("reminder") >= 2)
    ids = [post["id"] for post in hooks["wall"].posts()]
    assert len(set(ids)) >= 2
    pagers.keep(caused(2, acked_by="ada"))
    pagers.deliver(lambda: pagers.has_all(*hooks))
    told = len(hooks["wall"].posts())
    over = time.time() + 0.5
    pagers.deliver(lambda: time.time() > over)
    assert (len(hooks["wall"].posts()), events(hooks["to-ada"])) == (told, ["page", "update"])


def test_what_is_for_the_morning_or_for_never_is_told_to_on_call_alone(
    hooks: Mapping[str, HookProcess], tmp_path: Path
) -> None:
    tables = {
        "later": config.Route(receivers=("to-ada",), tell="morning"),
        "not": config.Route(receivers=("to-ben",), tell="never"),
    }
    found = {name: config.Receiver() for name in hooks}
    plan = Plan(routes.read(config.Settings(routes=tables, receivers=found)))
    pagers = desk(tmp_path, hooks, plan)
    pagers.keep(caused(), caused(2, "resolved"))
    pagers.deliver(pagers.has_all, lambda: pagers.has_all(*hooks))
    assert [bool(each.posts()) for each in hooks.values()] == [False, False, True]
    assert (tmp_path / "pages.log").read_text().count("I-1") >= 1


def test_a_defect_in_the_plan_keeps_no_page_from_anybody(
    hooks: Mapping[str, HookProcess], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    for name in ("told_at", "asked", "reminds"):
        monkeypatch.setattr(Plan, name, fails)
    pagers = desk(tmp_path, hooks, Plan(rota=rota(AT_ONCE)))
    pagers.keep(caused())
    pagers.deliver(lambda: pagers.has_all(*hooks))
    assert [each.known() for each in hooks.values()] == [[("page", 1)]] * 3
