"""`sentinel status --watch`: the present state again and again, or a line for each change."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.control import Control
from rich.segment import ControlType, Segment
from rich.text import Text

from sentinel.cli.frame import CommandError, say, say_document
from sentinel.console import console
from sentinel.terminal import screen_of, states

LOOK_EVERY_S = 1.0
"""As often as a controller of a large cluster looks itself."""


def watch(look: Callable[[], Any], *, json: bool) -> None:
    """Show what `look` gives until Ctrl-C, which is its good end. Raises CommandError if it never can."""
    out, status = console(), look()
    with suppress(KeyboardInterrupt):
        if out.is_terminal and not json:
            _redraw(out, look, status)
        else:
            _tell(look, status, json=json)


def _redraw(out: Console, look: Callable[[], Any], status: Any) -> None:
    """Draw over what was drawn before: whatever ends it leaves a terminal as it was."""
    away = ""
    out.control(Control.clear())
    while True:
        head = Text(time.strftime("%H:%M:%S") + (f" {away}" if away else ""), "bold red" if away else "dim")
        out.print(_Screen(Group(head, screen_of(status))), end="")
        time.sleep(LOOK_EVERY_S)
        try:
            status, away = look(), ""
        except CommandError as error:
            away = away or f"as it was {time.strftime('%H:%M:%S')}: {error}"


class _Screen:
    """Something on all of the screen but the last line; what does not fit is counted there."""

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        yield Control(ControlType.HOME).segment
        room = max(1, console.height - 1)
        lines = console.render_lines(self._inner, options.update(height=None), pad=True)
        for line in lines[:room]:
            yield from line
            yield Segment.line()
        for _ in range(room - len(lines)):
            yield Segment(" " * options.max_width)
            yield Segment.line()
        over = len(lines) - room
        yield Segment((f"… {over} lines more" if over > 0 else "").ljust(options.max_width - 1))


def _tell(look: Callable[[], Any], status: Any, *, json: bool) -> None:
    """Say what is so, and from then on what is so no more, or is new."""
    known, away = dict[str, str](), ""
    while True:
        now = {**known, "controller": away} if away else {"controller": "answers", **states(status)}
        at = time.time()
        for what in dict.fromkeys((*now, *known)):
            if (new := now.get(what)) != (old := known.get(what)):
                if json:
                    say_document({"at": at, "what": what, "is": new, "was": old})
                else:
                    said = "over" if new is None else new
                    say(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(at))} {what}: {said}")
        known = now
        time.sleep(LOOK_EVERY_S)
        try:
            status, away = look(), ""
        except CommandError as error:
            away = away or str(error)
