"""What `demo --steady` tells before anybody has to wait."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sentinel.console import console
from sentinel.demo import steady
from sentinel.demo.sandbox import Sandbox


def test_it_says_at_once_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()

    def started(**_: Any) -> Sandbox:
        assert "a head, 4 nodes and 3 ranks" in out.getvalue()
        raise KeyboardInterrupt

    monkeypatch.setattr(Sandbox, "start", started)
    with pytest.raises(KeyboardInterrupt):
        steady.keep_running(console(file=out), {"nodes": 4, "world": 3})
    assert "until Ctrl-C" in out.getvalue()


def test_it_says_where_settings_pages_and_slack_are() -> None:
    out = io.StringIO()
    sandbox: Any = SimpleNamespace(
        url="http://h:1", config=Path("/tmp/x/sentinel.toml"), slack_url="http://h:2"
    )
    steady._where(console(file=out), sandbox)
    assert out.getvalue().splitlines() == [
        "pages:    http://h:1/ (logbook: http://h:1/logbook)",
        "commands: sentinel --config /tmp/x/sentinel.toml status",
        "Slack:    http://h:2/messages, what arrived at the local server",
    ]
