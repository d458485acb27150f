"""What all commands share: how they fail, ask the controller and print."""

import getpass
import json as codec
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

if TYPE_CHECKING:
    from sentinel.config import Settings

FAILED, MISUSED = 1, 2
INTERRUPTED = 130
"""By Ctrl-C, as shells say it: 128 and the number of SIGINT."""
EXIT_BY_HEALTH = {"ok": 0, "skipped": 0, "unknown": 1, "warning": 3, "critical": 4}
"""Of commands that look at machines, by the worst that they find; 2 is wrong use, as of every command."""
CLUSTER, OPERATE, INSPECT, TRUST = "Cluster", "Operate", "Test and inspect", "Keys and trust"
"""Headings of `sentinel --help`."""
ANSWERS_WITHIN_S = 10.0
GRAFANA = ("grafana_foundation_sdk", "promql_parser")
"""What only those need who change dashboards."""
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class CommandError(Exception):
    """What a command can't do, in one line."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def _without_types(params: list[Any]) -> list[Any]:
    """Show no type after a switch: it takes no value."""
    for param in params:
        if isinstance(param, TyperOption) and param.is_flag:
            param.metavar = ""
    return params


class Command(TyperCommand):
    """One command, whose help shows what a person types."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Give its parameters, `--help` too."""
        return _without_types(super().get_params(ctx))


class Group(TyperGroup):
    """Commands under one name, whose help shows what a person types."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Give the parameters of all of them."""
        return _without_types(super().get_params(ctx))


class _OneLine(Group):
    """Ends every failure with one line on stderr: 2 for wrong use or settings, 1 for the rest."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **named: Any) -> NoReturn:
        given = _with_config_first(sys.argv[1:] if args is None else args)
        try:
            sys.exit(super().main(given or ["--help"], *rest, **{**named, "standalone_mode": False}) or 0)
        except Exception as error:
            code, line = _explain(error)
            from sentinel import console

            console.say(f"sentinel: {' '.join(line.split())}", out=sys.stderr)
            sys.exit(code)


def _with_config_first(words: Sequence[str]) -> list[str]:
    """Put `--config FILE`, which may stand anywhere before a `--`, where the parser expects it."""
    end = words.index("--") if "--" in words else len(words)
    first, others = list[str](), list[str]()
    given = iter(words[:end])
    for word in given:
        if word == "--config":
            first += [word, *islice(given, 1)]
        else:
            (first if word.startswith("--config=") else others).append(word)
    return [*first, *others, *words[end:]]


def _explain(error: Exception) -> tuple[int, str]:
    """Give exit code and line for anything that a command may raise."""
    if hasattr(error, "format_message"):  # how the parser words wrong use
        return MISUSED, f"{error.format_message()} (see sentinel --help)"
    if isinstance(error, CommandError):
        return error.code, str(error)
    if type(error).__name__ in ("UpError", "JournalError"):
        return FAILED, str(error)
    if isinstance(error, ModuleNotFoundError) and error.name in ("ray", "torch", "numpy"):
        return FAILED, f"{error}; this command needs the extras: pip install 'sentinel-cluster[ray,train]'"
    if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("drain3"):
        return FAILED, f"{error}; this command needs an extra: pip install 'sentinel-cluster[learn]'"
    if isinstance(error, ModuleNotFoundError) and error.name in GRAFANA:
        return FAILED, f"{error}; this command needs an extra: pip install 'sentinel-cluster[dashboards]'"
    if type(error).__name__ == "ConfigError":
        from sentinel.config import located

        return MISUSED, located(str(error), config_file())
    if type(error).__name__ in ("RunbookError", "ScenarioError"):
        return MISUSED, str(error)
    if isinstance(error, OSError) and error.filename:
        return FAILED, f"{error.filename}: {error.strerror}"
    if isinstance(error, ValueError):
        return FAILED, str(error)
    return FAILED, f"{type(error).__name__}: {error}"


def examples(*lines: str) -> str:
    """Give what stands below a command's help."""
    return "\n\n".join(["Examples:", *(f"`{line}`" for line in lines)])


app = typer.Typer(cls=_OneLine, pretty_exceptions_enable=False, rich_markup_mode="markdown")

Reason = Annotated[str, typer.Option("--reason", "-r", help="Kept in the journal and shown in the logbook.")]
Node = Annotated[str, typer.Argument(help="Name of a node, as `sentinel status` shows it.")]
Json = Annotated[bool, typer.Option("--json", help="Print the controller's answer as it is.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print it for programs.")]
_config: list[Path] = []


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        say(version("sentinel-cluster"))
        raise typer.Exit


@app.callback(
    epilog=examples(
        "sentinel demo --fault rank-crash",
        "sentinel up && sentinel status",
        "sentinel status --why n2",
        'sentinel drain n2 --wait --reason "fans"',
        "sentinel COMMAND --help",
    )
)
def _main(
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instead of $SENTINEL_CONFIG, ./sentinel.toml or /etc/sentinel/sentinel.toml, "
            "in this order; before the command, or after it.",
        ),
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which release this is.")
    ] = False,
) -> None:
    """Sentinel keeps a large training run alive: it finds what broke, repairs it, and tells people."""
    _config[:] = [config] if config else []


def config_file() -> Path | None:
    """Give the file that the command line names, if it names one."""
    return _config[0] if _config else None


def settings() -> "Settings":
    """Load the settings. Raises ConfigError."""
    from sentinel.config import load

    return load(config_file())


def _who_starts_one() -> str:
    from sentinel.runtime import running
    from sentinel.runtime.last_words import last_words

    folder = settings().cluster.state_dir
    watchdog = running.find(folder / "watchdog.lock", running.WATCHDOG)
    if watchdog is None:
        return "`sentinel up` on the head node starts one"
    said = last_words(folder / "controller.log")
    return (
        f"the watchdog (pid {watchdog.pid}) is replacing it, ask again in some seconds; its log ends: {said}"
    )


def ask(method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Ask the controller. Raises CommandError with its own reason when it refuses."""
    from http.client import HTTPConnection, HTTPException

    from sentinel.adapters.keys import Keys
    from sentinel.config import source

    cluster = settings().cluster
    url, keys = f"{cluster.web_url}/api/{path}", Keys(cluster.keys_dir)
    used = f"settings used: {source(config_file())}; for others give --config FILE or set SENTINEL_CONFIG"
    if not os.path.lexists(keys.directory):
        raise CommandError(
            f"no Sentinel was started here with these settings ({keys.directory}: no such folder); "
            f"commands run on the head node; {used}"
        )
    headers = {"Authorization": f"Bearer {keys.api_token}", "Content-Type": "application/json"}
    connection = HTTPConnection(cluster.bind, cluster.web_port, timeout=ANSWERS_WITHIN_S)
    try:
        connection.request(method, f"/api/{path}", None if body is None else codec.dumps(body), headers)
        answer = connection.getresponse()
        status, text = answer.status, answer.read().decode(errors="replace")
    except (OSError, HTTPException) as error:
        raise CommandError(f"no controller answers at {url}: {error}; {_who_starts_one()}; {used}") from None
    finally:
        connection.close()
    return _answer(status, text)


def _answer(status: int, text: str) -> Any:
    try:
        document = codec.loads(text)
    except ValueError:
        document = text
    if 200 <= status < 300:
        return document
    if isinstance(document, dict) and "error" in document:
        raise CommandError(f"the controller refuses: {document['error']}")
    raise CommandError(f"the controller refuses ({status}): {document}")


def tell(command: str, target: str = "", reason: str = "", for_s: float = 0.0) -> None:
    """Give the controller a command, and say what it did. Raises CommandError."""
    who = getpass.getuser()
    answer = ask("POST", command, {"target": target, "reason": reason, "who": who, "for_s": for_s})
    say(str(answer["done"]))


def say(line: str) -> None:
    """Print a line."""
    from sentinel import console

    console.say(line)


def say_json(document: str) -> None:
    """Print a document."""
    from sentinel import console

    console.say_json(document)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return "-" if value is None or value == "" else str(value)


def table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows as a table; its columns are their keys."""
    from rich.markup import escape
    from rich.table import Table

    from sentinel.console import console

    columns = list(dict.fromkeys(key for row in rows for key in row))
    shown = Table(*columns, title=title or None)
    for row in rows:
        shown.add_row(*(escape(_text(row.get(column))) for column in columns))
    console().print(shown)


def show(document: Any, tables: Callable[[Any], None], *, json: bool) -> None:
    """Print a document as it is, or as tables."""
    if json:
        say_document(document)
    else:
        tables(document)


def say_document(document: Any) -> None:
    """Print a document as one line of JSON."""
    say_json(codec.dumps(document))


def duration(text: str, option: str) -> float:
    """Read `30m`, `2h`, `1d` as seconds. Raises CommandError."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])", text)
    if not found:
        raise CommandError(f"{option} {text!r}: expected a number and s, m, h or d, such as 30m", MISUSED)
    return float(found[1]) * _UNITS[found[2]]


def time_from_now(text: str, option: str) -> float:
    """Read `14:30` as the next such time of day here, `2026-12-24 14:30` as that moment, `2h` as from now.

    Gives seconds from now, which are negative for what is past. Raises CommandError.
    """
    now = datetime.now().astimezone()
    if found := re.fullmatch(r"(\d{1,2}):(\d{2})", text):
        hour, minute = int(found[1]), int(found[2])
        if hour > 23 or minute > 59:
            raise CommandError(f"{option} {text!r}: expected a time of day from 00:00 to 23:59", MISUSED)
        then = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        then += timedelta(days=then <= now)
    elif re.match(r"\d{4}-", text):
        try:
            then = datetime.fromisoformat(text).astimezone()
        except ValueError:
            wanted = "expected a date, perhaps with a time, such as '2026-12-24 14:30'"
            raise CommandError(f"{option} {text!r}: {wanted}", MISUSED) from None
    else:
        return duration(text, option)
    return (then - now).total_seconds()
