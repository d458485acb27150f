"""Pages on the console and in a file."""

import asyncio
import io
import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from slack_process import page

from sentinel.adapters.console_pages import ConsolePages
from sentinel.adapters.page_channel import ChannelError, Sender


def lines(path: Path) -> list[tuple[str, str, int]]:
    found = []
    for line in path.read_text().splitlines():
        try:
            read = json.loads(line)
        except ValueError:
            continue
        found.append((read["what"], read["incident"], read["revision"]))
    return found


def test_people_read_stage_title_body_and_link_on_the_console(tmp_path: Path) -> None:
    out = io.StringIO()
    channel = ConsolePages(tmp_path / "pages.log", sender=Sender("blue", "http://head"), out=out)
    asyncio.run(
        channel.open(replace(page("INC-1", 1, body="node-7 lost GPU 3\nevicting it"), cause="gpu-lost"))
    )
    assert out.getvalue() == (
        "🔴 FIRING blue: gpu-off-bus on node-7 r1\n    node-7 lost GPU 3\n    evicting it\n"
        "    incident blue/INC-1 · revision 1 · http://head/logbook/INC-1"
        " · runbook http://head/runbook/gpu-lost\n"
    )


def test_after_a_restart_the_file_says_what_was_shown(tmp_path: Path) -> None:
    path, first, second = (
        tmp_path / "pages.log",
        page("INC-1", 1, thread="why"),
        page("INC-1", 2, thread="how"),
    )

    async def show(channel: ConsolePages) -> None:
        ref = await channel.open(first)
        await channel.detail(first, ref)
        await channel.edit(second, ref)

    async def again(channel: ConsolePages) -> tuple[tuple[str, int] | None, bool, bool]:
        await channel.edit(second, "INC-1")
        await channel.detail(first, "INC-1")
        details = await channel.find_detail(first, "INC-1"), await channel.find_detail(second, "INC-1")
        return await channel.find(first, 0.0), *details

    asyncio.run(show(ConsolePages(path, out=io.StringIO())))
    found = asyncio.run(again(ConsolePages(path, out=io.StringIO())))
    assert found == (("INC-1", 2), True, False)
    assert lines(path) == [("message", "INC-1", 1), ("detail", "INC-1", 1), ("edit", "INC-1", 2)]


def test_a_line_torn_by_a_crash_counts_as_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "pages.log"
    asyncio.run(ConsolePages(path, out=io.StringIO()).open(page("INC-1", 1)))
    path.write_bytes(path.read_bytes() + b'{"at": 1, "what": "message", "incident": "INC-2", "revi')
    channel = ConsolePages(path, out=io.StringIO())
    assert asyncio.run(channel.find(page("INC-2", 1), 0.0)) is None
    asyncio.run(channel.open(page("INC-2", 1)))
    assert lines(path) == [("message", "INC-1", 1), ("message", "INC-2", 1)]


def test_a_file_that_cannot_be_written_is_an_error_to_try_again(tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("a file where a folder should be")
    channel = ConsolePages(tmp_path / "folder" / "pages.log", out=io.StringIO())
    with pytest.raises(ChannelError) as caught:
        asyncio.run(channel.open(page("INC-1", 1)))
    assert not caught.value.permanent


def test_a_closed_terminal_takes_nothing_away(tmp_path: Path) -> None:
    out = io.StringIO()
    out.close()
    asyncio.run(ConsolePages(tmp_path / "pages.log", out=out).open(page("INC-1", 1)))
    assert lines(tmp_path / "pages.log") == [("message", "INC-1", 1)]
