"""The controller's ears in Slack: a disposable child process, for it loads a library and waits for others."""

import contextlib
import os
import sys
import threading

import msgspec

from sentinel import logs, private
from sentinel.adapters.slack_api import SlackApi
from sentinel.adapters.slack_people import People
from sentinel.adapters.slack_socket import Socket, Told
from sentinel.model.ids import Seconds
from sentinel.parent import die_with
from sentinel.redact import remember
from sentinel.runtime.slack_nouns import Line, Task
from sentinel.runtime.slack_presses import Controller, Presses

TIMEOUT: Seconds = 2.0
"""For each read and write of a call: a form has to be opened within three seconds."""


class Mouth:
    """Standard output, one line at a time; whoever read it may be gone, and this process soon is."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def say(self, line: Line) -> None:
        """Tell the controller."""
        with self._lock, contextlib.suppress(OSError):
            sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
            sys.stdout.buffer.flush()


def main() -> None:
    """Hear Slack until the controller ends."""
    task = msgspec.json.decode(sys.stdin.buffer.readline(), type=Task)
    die_with(task.parent)
    os.umask(private.UMASK)
    remember(task.app_token, task.bot_token, task.api_token)
    logs.to_stderr()
    api, mouth = SlackApi(task.bot_token, task.base_url, TIMEOUT), Mouth()
    controller = Controller(task.host, task.port, task.api_token, task.cluster, task.journal)
    presses = Presses(
        controller,
        api,
        People(api, task.groups),
        lambda result, incident: mouth.say(Line(press=result, incident=incident)),
    )

    def told(how: Told) -> None:
        mouth.say(Line(how.state, how.why))

    with contextlib.suppress(KeyboardInterrupt):
        Socket(task.app_token, task.base_url, presses.hear, told).run()


if __name__ == "__main__":
    main()
