"""Our Markdown as HTML: no HTML, link or image in it is believed; what is long is folded."""

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from sentinel.logbook.stacks import Stack, fold

SHOWN_LINES = 24
"""Of a longer raw text so many are shown, and the rest is a click away."""


def to_html(markdown: str) -> str:
    """Render it."""
    html: str = _parser().render(markdown)
    return html


@cache
def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.disable(["link", "image", "autolink", "html_inline", "html_block"])
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("heading_open", _heading)
    return parser


def _heading(_: Any, tokens: Sequence[Token], at: int, *__: Any) -> str:
    """Give a heading a name that a link may lead to."""
    name = re.sub(r"[^a-z0-9]+", "-", tokens[at + 1].content.casefold()).strip("-")
    return str(Markup('<{} id="{}">').format(Markup(tokens[at].tag), name))  # noqa: S704 - h1 to h6


def _fence(_: Any, tokens: Sequence[Token], at: int, *__: Any) -> str:
    text = tokens[at].content
    if stacks := fold(text):
        return str(Markup("").join(map(_stack, stacks)))
    return str(_long(text))


def _stack(stack: Stack) -> Markup:
    """Show the thread that matters, and the others when they are asked for."""
    shown = "\n".join(filter(None, (stack.head, stack.thread)))
    html = Markup("<pre><code>{}\n</code></pre>\n").format(shown)
    if stack.left:
        threads = "thread" if stack.left == 1 else "threads"
        html += _details(f"{stack.left} other {threads}", stack.others)
    return html


def _long(text: str) -> Markup:
    lines = text.rstrip("\n").split("\n")
    if len(lines) <= SHOWN_LINES + 2:
        return Markup("<pre><code>{}</code></pre>\n").format(text)
    first = Markup("<pre><code>{}\n</code></pre>\n").format("\n".join(lines[:SHOWN_LINES]))
    return first + _details(f"{len(lines) - SHOWN_LINES} more lines", "\n".join(lines[SHOWN_LINES:]))


def _details(summary: str, text: str) -> Markup:
    words = Markup("<details><summary>{}</summary><pre><code>{}\n</code></pre></details>\n")
    return words.format(summary, text)
