"""Nobody's text is an order to a terminal, whichever way it comes there."""

import ast
import io
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

import sentinel
from sentinel.console import console, say, say_json
from sentinel.terminal_text import harmless

ORDERS = [chr(code) for code in [*range(32), 127, *range(128, 160)] if chr(code) not in "\n\t"]
ORDERS += ["\u202e", "\u2066", "\u200f", "\u061c", "\u2028", "\ufeff", "\ud800", "\U000e0041"]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: f"{ord(order):x}")
def test_an_order_is_spelled_out(order: str) -> None:
    shown = harmless(f"a{order}b")
    assert order not in shown
    assert shown.startswith("a\\")
    assert shown.endswith("b")
    assert harmless(shown) == shown


def test_what_is_written_in_any_language_stays() -> None:
    text = "🔴 FIRING n1\tgpu-3: 温度 91 °C, naïve, עברית, ok\n"
    assert harmless(text) == text


@pytest.mark.parametrize("terminal", [True, False])
def test_a_console_shows_texts_in_its_own_colours_only(terminal: bool) -> None:
    out = io.StringIO()
    shown = console(file=out, force_terminal=terminal, width=80)
    bad = "n1\x1b]0;owned\x07\x9b31m\u202e\x1b[2J"
    table = Table("node", title=bad)
    table.add_row(Text(bad, "red"))
    shown.print(table)
    shown.print(bad, style="bold", markup=False)
    printed = out.getvalue()
    for order in ("\x1b]", "\x07", "\x9b", "\u202e", "\x1b[2J"):
        assert order not in printed
    assert "owned" in printed
    assert ("\x1b[" in printed) == terminal


def test_a_line_and_json_hold_no_order(capsys: pytest.CaptureFixture[str]) -> None:
    say("done \x1b[31m HF_TOKEN=abcdefgh12345678")
    say_json('{"a": "\x7f"}')
    assert capsys.readouterr().out == 'done \\x1b[31m HF_TOKEN=[hidden]\n{"a": "\\u007f"}\n'


def test_nothing_else_prints() -> None:
    folder = Path(sentinel.__file__).parent
    printing = {"print", "typer.echo", "Console", "sys.stdout.write", "sys.stderr.write", "click.echo"}
    own = {"console.py", "slack_server.py", "ray_start.py", "reference.py", "console_pages.py", "__main__.py"}
    found = [
        f"{file.relative_to(folder)}:{node.lineno}"
        for file in folder.rglob("*.py")
        if file.name not in own
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in printing
    ]
    assert found == []
