"""What the processes of a node have written of late, without going there."""

from typing import Annotated, Any

import typer

from sentinel.cli.frame import OPERATE, Json, Node, app, ask, examples, say, show


@app.command(
    rich_help_panel=OPERATE,
    epilog=examples("sentinel logs n2", "sentinel logs n2 --lines 1000 | less", "sentinel logs n2 --json"),
)
def logs(
    node: Node,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="Of each log, at most.")] = 50,
    json: Json = False,
) -> None:
    """Show the end of the logs of a node's agent and ranks, also of those that ended lately; no secrets.

    What does not go to a file, such as to the system's journal, is named and not shown. Nothing is kept.
    """
    show(ask("POST", "logs", {"node": node, "lines": lines}), _print, json=json)


def _print(answer: Any) -> None:
    for each in answer["logs"]:
        say(f"==> {each['of']} <==")
        if each["text"]:
            say(each["text"])
