"""The one way to a person's terminal: what is shown holds no order to it and no secret, whoever said it."""

import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook
from rich.segment import Segment

from sentinel.terminal_text import harmless

UNWRAPPED = 1 << 16
"""Columns of what is no terminal, such as a pipe: programs read lines, and `grep` finds them whole."""


def console(**options: Any) -> Console:
    """Give a console, as rich's, on which texts are only shown; what is piped is not wrapped."""
    made = Console(**options)
    if not made.is_terminal and "COLUMNS" not in os.environ:
        made.width = UNWRAPPED
    made.push_render_hook(_OnlyShown())
    return made


def say(line: str, *, out: TextIO | None = None) -> None:
    """Print a line on standard output, or on `out`."""
    from sentinel.redact import redact  # its patterns cost a tenth of a command that prints none

    print(harmless(redact(line)), file=out or sys.stdout, flush=True)


def say_json(document: str) -> None:
    """Print JSON that is ASCII: what it escapes by itself leaves one character that is an order."""
    print(document.replace("\x7f", "\\u007f"), flush=True)


class _OnlyShown(RenderHook):
    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Shown(each) for each in renderables]


class _Shown:
    """Something rendered, in whose texts only rich's own orders are left."""

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Segment]:
        for segment in console.render(self._inner, options):
            yield segment if segment.control else Segment(harmless(segment.text), segment.style)
