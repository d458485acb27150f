"""A Slack that is away is one line of the log, and one when it is back."""

import asyncio
import os
from pathlib import Path

import pytest

from sentinel.runtime.slack_link import SlackLink
from sentinel.runtime.slack_nouns import Task
from tests.adapters.slack_process import slack_process
from tests.runtime.slack_cluster import free_port


def test_a_server_that_is_away_is_told_once_and_once_that_it_is_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    asked = "xapp-test-token", "xoxb-test-token", f"http://127.0.0.1:{port}/api/", ("oncall",)
    task = Task(os.getpid(), *asked, "127.0.0.1", 9, "token", "blue", "j1")
    link = SlackLink(task, tmp_path / "slack-link.log", lambda _: None)
    reasons = set[str]()

    async def drive() -> None:
        run = asyncio.create_task(link.run())
        async with asyncio.timeout(60):
            while len(reasons) < 2:  # the child's first try, and what came before it
                reasons.add(link._why)
                await asyncio.sleep(0.02)
            link._is("down", "another reason")
            with slack_process("--port", str(port)):
                while link.state != "connected":
                    await asyncio.sleep(0.02)
                run.cancel()
                await asyncio.gather(run, return_exceptions=True)

    asyncio.run(drive())
    lines = [line for line in capsys.readouterr().out.splitlines() if "slack-buttons" in line]
    assert ["down" in line for line in lines] == [True, False]
    assert (tmp_path / "slack-link.log").read_text() == ""
