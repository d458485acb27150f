"""The `sentinel` command; what a command needs is imported when it runs, so that `--help` is quick."""

import getpass
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from sentinel.config import Settings
    from sentinel.model.policy import Policy
    from sentinel.rehearse.run import Books

FAILED, MISUSED = 1, 2
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class CommandError(Exception):
    """What a command can't do, in one line."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


class _OneLine(TyperGroup):
    """Ends every failure with one line on stderr: 2 for wrong use or settings, 1 for the rest."""

    def main(self, *args: Any, **named: Any) -> NoReturn:
        try:
            sys.exit(super().main(*args, **{**named, "standalone_mode": False}) or 0)
        except Exception as error:
            code, line = _explain(error)
            from sentinel.console import say

            say(f"sentinel: {' '.join(line.split())}", out=sys.stderr)
            sys.exit(code)


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
    if type(error).__name__ in ("ConfigError", "RunbookError", "ScenarioError"):
        return MISUSED, str(error)
    if isinstance(error, OSError) and error.filename:
        return FAILED, f"{error.filename}: {error.strerror}"
    if isinstance(error, ValueError):
        return FAILED, str(error)
    return FAILED, f"{type(error).__name__}: {error}"


app = typer.Typer(cls=_OneLine, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Reason = Annotated[str, typer.Option("--reason", "-r", help="Kept in the journal and shown in the logbook.")]
Json = Annotated[bool, typer.Option("--json", help="Print the controller's answer as it is.")]
_config: list[Path] = []


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        _say(version("sentinel-cluster"))
        raise typer.Exit


@app.callback()
def _main(
    config: Annotated[
        Path | None, typer.Option(help="Instead of ./sentinel.toml; stands before the command.")
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback does it
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which release this is.")
    ] = False,
) -> None:
    """Sentinel keeps a large training run alive."""
    _config[:] = [config] if config else []


def _settings() -> "Settings":
    from sentinel.config import load

    return load(_config[0] if _config else None)


def _ask(method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """Ask the controller. Raises CommandError with its own reason when it refuses."""
    import httpx

    from sentinel.adapters.keys import Keys

    cluster = _settings().cluster
    url, keys = f"{cluster.web_url}/api/{path}", Keys(cluster.keys_dir)
    if not keys.directory.exists():
        raise CommandError(
            f"{keys.directory}: no such folder: no sentinel up was run here with these settings"
        )
    headers = {"Authorization": f"Bearer {keys.api_token}"}
    try:
        answer = httpx.request(method, url, json=body, headers=headers, timeout=10, trust_env=False)
    except httpx.HTTPError as error:
        raise CommandError(f"no controller answers at {url}: {error}") from None
    return _answer(answer)


def _answer(answer: Any) -> Any:
    try:
        document = answer.json()
    except ValueError:
        document = answer.text
    if answer.is_success:
        return document
    detail = document.get("error", document) if isinstance(document, dict) else document
    raise CommandError(f"the controller refuses ({answer.status_code}): {detail}")


def _tell(command: str, target: str = "", reason: str = "", for_s: float = 0.0) -> None:
    who = getpass.getuser()
    answer = _ask("POST", command, {"target": target, "reason": reason, "who": who, "for_s": for_s})
    _say(str(answer["done"]))


def _say(line: str) -> None:
    from sentinel.console import say

    say(line)


def _say_json(document: str) -> None:
    from sentinel.console import say_json

    say_json(document)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    return "-" if value is None or value == "" else str(value)


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from sentinel.console import console

    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = Table(*columns, title=title or None)
    for row in rows:
        table.add_row(*(escape(_text(row.get(column))) for column in columns))
    console().print(table)


def _print(document: Any, tables: Callable[[Any], None], *, json: bool) -> None:
    if json:
        import json as codec

        _say_json(codec.dumps(document))
    else:
        tables(document)


def _duration(text: str, option: str) -> float:
    """Read `30m`, `2h`, `1d` as seconds. Raises CommandError."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])", text)
    if not found:
        raise CommandError(f"{option} {text!r}: expected a number and s, m, h or d, such as 30m", MISUSED)
    return float(found[1]) * _UNITS[found[2]]


@app.command()
def up() -> None:
    """Start controller, agents and the job on the cluster of the settings."""
    from sentinel.private import UMASK
    from sentinel.runtime.up import up as start

    os.umask(UMASK)
    _say(start(_settings(), _config[0] if _config else None))


@app.command()
def down() -> None:
    """End the job, the agents and the controller; the journal stays."""
    from sentinel.runtime.up import down as stop

    _say(stop(_settings()))


@app.command()
def status(json: Json = False) -> None:
    """Show the nodes, the job and what is open."""
    from sentinel.terminal import print_status

    _print(_ask("GET", "status"), print_status, json=json)


@app.command()
def incidents(json: Json = False) -> None:
    """List the incidents, newest first."""
    from sentinel.terminal import print_incidents

    _print(_ask("GET", "incidents"), print_incidents, json=json)


@app.command()
def ack(incident: str, reason: Reason = "") -> None:
    """Say that you look after an incident."""
    _tell("ack", incident, reason)


@app.command()
def silence(
    target: Annotated[str, typer.Argument(help="A node or a cause.")],
    until: Annotated[str, typer.Option(help="How long from now: 30m, 2h, 1d.")] = "1h",
    reason: Reason = "",
) -> None:
    """Page nobody about a node or a cause for a while; actions go on."""
    from sentinel.core.operate import LONGEST_SILENCE_S

    seconds = _duration(until, "--until")
    if not 0 < seconds <= LONGEST_SILENCE_S:
        raise CommandError(f"--until {until!r}: expected more than nothing and at most 30d", MISUSED)
    _tell("silence", target, reason, seconds)


@app.command()
def drain(node: str, reason: Reason = "") -> None:
    """Take a node out of use at the next step boundary; Sentinel never undoes that."""
    _tell("drain", node, reason)


@app.command()
def undrain(node: str, reason: Reason = "") -> None:
    """Let a drained or evicted node be used again."""
    _tell("undrain", node, reason)


@app.command(name="stop-actions")
def stop_actions(reason: Reason = "") -> None:
    """Do nothing but watch and page, until resume-actions."""
    _tell("stop-actions", "", reason)


@app.command(name="resume-actions")
def resume_actions(reason: Reason = "") -> None:
    """Act again, on what is still true."""
    _tell("resume-actions", "", reason)


@app.command()
def enroll(
    nodes: Annotated[list[str] | None, typer.Argument(help="Names of nodes that get a key each.")] = None,
    revoke: Annotated[bool, typer.Option("--revoke", help="Believe these nodes' keys no more.")] = False,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="A new key for each; the old one is good until that is used.")
    ] = False,
    token: Annotated[bool, typer.Option("--token", help="Print a token with which nodes join.")] = False,
    for_: Annotated[str, typer.Option("--for", help="How long a token is good: 30m, 2h, 1d.")] = "1h",
    pattern: Annotated[
        str, typer.Option("--nodes", help="Names that may join by a token, as `gpu-*`.")
    ] = "*",
    uses: Annotated[int, typer.Option(min=1, help="How many nodes may join by a token.")] = 10**9,
    accept_shared: Annotated[
        str, typer.Option(help="How long the key that all agents shared in an earlier release may join.")
    ] = "",
    end_tokens: Annotated[bool, typer.Option("--end-tokens", help="Let nobody join any more.")] = False,
    to: Annotated[Path | None, typer.Option(help="Folder for what is to be carried to the nodes.")] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show nodes and tokens.")] = False,
) -> None:
    """Give nodes keys, or a token with which they get their own; on the head node, as who runs Sentinel."""
    from sentinel.runtime import enroll as work

    asked = [bool(nodes), token, bool(accept_shared), end_tokens, list_]
    if sum(asked) != 1 or (revoke and rotate) or ((revoke or rotate) and not nodes):
        raise CommandError(
            "enroll takes nodes (perhaps with --revoke or --rotate), or one of --token, --accept-shared, "
            "--end-tokens, --list",
            MISUSED,
        )
    directory = _settings().cluster.keys_dir
    if list_:
        _table("", work.known(directory))
        return
    token_s = _duration(for_, "--for") if token else 0.0
    shared_s = _duration(accept_shared, "--accept-shared") if accept_shared else 0.0
    wish = work.Wish(
        nodes or (), revoke, rotate, end_tokens, token_s, shared_s, pattern=pattern, uses=uses, to=to
    )
    for line in work.enroll(directory, wish):
        _say(line)


@app.command()
def replay(file: Annotated[Path, typer.Argument(help="A recording from the logbook.")]) -> None:
    """Run a recording through today's decisions; exit 1 when they differ from the recorded ones."""
    from sentinel.core.decide import decide
    from sentinel.core.replay import replay as fold
    from sentinel.core.state import Rules, State
    from sentinel.logbook.recording import read
    from sentinel.model.codec import from_plain
    from sentinel.model.policy import Policy
    from sentinel.runbooks import load
    from sentinel.terminal import print_replay

    policy = _settings().policy
    try:
        recording = read(file.read_text(encoding="utf-8"), str(file))
        policy = from_plain(Policy, recording.policy) if recording.policy else policy
        state = State.from_plain(recording.state) if recording.state else State()
    except (ValueError, KeyError, TypeError) as error:
        told = str(error)
        raise CommandError(told if str(file) in told else f"{file}: not a recording: {told}") from None
    if not recording.lines:
        raise CommandError(f"{file}: holds no fact")
    rules = Rules(policy, load())
    differing = print_replay(fold(recording.lines, state, lambda now, fact: decide(now, fact, rules)))
    raise typer.Exit(FAILED if differing else 0)


@app.command()
def rehearse(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Scenario files (docs/rehearse.md), or folders of them.")
    ] = None,
    journal: Annotated[
        Path | None, typer.Option(help="A journal.db whose past is decided again; a running one, too.")
    ] = None,
    since: Annotated[str, typer.Option(help="How far back in the journal: 12h, 30d.")] = "30d",
    policy: Annotated[
        Path | None, typer.Option(help="A sentinel.toml whose [policy] decides; without: today's.")
    ] = None,
    runbooks: Annotated[
        Path | None, typer.Option(help="A folder of runbooks; without: the bundled ones.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="One object a line and scenario or incident.")] = False,
    explain: Annotated[
        bool, typer.Option(help="Show facts, the rules tried and what was waited for.")
    ] = False,
) -> None:
    """Say what Sentinel would do in a scenario, or would have done; exit 1 if that is not as expected."""
    from sentinel.config import load
    from sentinel.runbooks import load as load_runbooks

    if (journal is None) == (not files):
        raise CommandError("rehearse takes scenario files, or a --journal", MISUSED)
    numbers, books = (load(policy) if policy else _settings()).policy, load_runbooks(runbooks)
    if journal is not None:
        raise typer.Exit(_retell(journal, _duration(since, "--since"), numbers, books, json=json))
    from sentinel.rehearse import run

    verdicts = []
    for scenario in run.scenarios(files or ()):
        verdict, why = run.rehearse(scenario, numbers, books, own_policy=policy is None, explain=explain)
        verdicts.append(verdict)
        for line in [run.as_json(verdict, why)] if json else run.as_text(scenario, verdict, why):
            (_say_json if json else _say)(line)
    if not json:
        _say(run.summary(verdicts))
    raise typer.Exit(0 if all(verdict.ok for verdict in verdicts) else FAILED)


def _retell(journal: Path, back: float, policy: "Policy", books: "Books", *, json: bool) -> int:
    """Print what would be decided differently from what a journal holds; gives the exit code."""
    import time

    from sentinel.core.state import Rules
    from sentinel.rehearse import retell

    since = time.time() - back
    told = retell.from_journal(journal, since, Rules(policy, books))
    for line in retell.as_json(told) if json else retell.as_text(told, since):
        (_say_json if json else _say)(line)
    return FAILED if told.defects or any(pair.differs for pair in told.pairs) else 0


@app.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(help="All, if none is named.")] = None,
    gpus: Annotated[str, typer.Option(envvar="SENTINEL_GPUS", help="nvml, none or simulated:FILE.")] = "nvml",
    expected_gpus: Annotated[int | None, typer.Option(min=0, help="How many it should have.")] = None,
) -> None:
    """Run checks on this machine now; exit 1 when one finds something critical, or cannot tell.

    The checks that need an agent's memory, xid and heartbeat, run only there.
    """
    import socket

    from sentinel.checks import load
    from sentinel.model.check import Machine
    from sentinel.model.codec import to_plain
    from sentinel.runtime.probe import probe
    from sentinel.runtime.prober import open_gpus

    if gpus not in ("nvml", "none") and not gpus.startswith("simulated:"):
        raise CommandError(f"--gpus {gpus!r}: expected nvml, none or simulated:FILE", MISUSED)
    checks = {name: each for name, each in load().items() if not each.in_agent}
    for name in names or ():
        if name not in checks:
            raise CommandError(f"no check {name!r} runs by hand: known are {', '.join(checks)}", MISUSED)
    machine = Machine(socket.gethostname(), open_gpus(gpus), expected_gpus)
    found = {name: to_plain(probe(checks[name], machine).findings) for name in names or checks}
    columns = ("check", "component", "health", "summary")
    nothing = {"health": "ok", "summary": "nothing found"}
    _table(
        "", [{c: row.get(c) for c in columns} for n in found for row in found[n] or [{"check": n, **nothing}]]
    )
    unfit = any(item["health"] in ("critical", "unknown") for items in found.values() for item in items)
    raise typer.Exit(FAILED if unfit else 0)


@app.command()
def demo(
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="Such as node-cut; repeat it, or separate by commas; a wrong name lists all. "
            "Without: rank-crash, rank-hang, gpu-ecc."
        ),
    ] = None,
    nodes: Annotated[int, typer.Option(min=2, help="Besides the head node; one of them is a spare.")] = 4,
    gpus: Annotated[int, typer.Option(min=1, help="Of each node; a rank on each but the spare's.")] = 1,
    runs: Annotated[int, typer.Option(min=1, help="How often each fault is injected.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="One line per fault.")] = False,
    seed: Annotated[int | None, typer.Option(help="Repeats the same choices.")] = None,
    steady: Annotated[bool, typer.Option(help="Keep running until Ctrl-C, and say what runs where.")] = False,
) -> None:
    """Break a small cluster on this machine, and watch it being repaired; the files stay in ./run."""
    from sentinel.demo.faults import NAMES
    from sentinel.demo.main import main

    faults = [name.strip() for item in fault or () for name in item.split(",") if name.strip()]
    for name in faults:
        if name not in NAMES:
            raise CommandError(f"no fault {name!r}: known are {', '.join(sorted(NAMES))}", MISUSED)
    if fault and not faults:
        raise CommandError(f"--fault names none: known are {', '.join(sorted(NAMES))}", MISUSED)
    raise typer.Exit(
        main(faults=faults, nodes=nodes, gpus=gpus, runs=runs, json=json, seed=seed, steady=steady)
    )


@app.command("seal-checkpoints")
def seal_checkpoints(
    yes: Annotated[bool, typer.Option("--yes", help="Seal those that are whole.")] = False,
) -> None:
    """List the job's checkpoints that it has not sealed, as of an older release; with --yes seal them."""
    from sentinel import private
    from sentinel.adapters.keys import Keys
    from sentinel.gang.snapshot_keys import checkpoint_key, job_key
    from sentinel.trainer import accept

    settings = _settings()
    directory = settings.job.checkpoint_dir / "checkpoints"
    key = checkpoint_key(job_key(Keys(settings.cluster.keys_dir).snapshot_secret, settings.job.name))
    if directory.is_dir() and (why := private.open_to_others(directory)):
        _say(why)
    left = 0
    for found in accept.candidates(directory, key):
        if sealed := yes and isinstance(found, accept.Candidate):
            accept.seal(found, key)
        left += not sealed
        _say(f"sealed: {found}" if sealed else f"{found}")
    if left:
        raise typer.Exit(FAILED)


@app.command()
def config(
    markdown: Annotated[bool, typer.Option(help="As the table of docs/operating.md.")] = False,
) -> None:
    """List every setting with its default and the reason for it."""
    from sentinel.config import keys

    if markdown:
        for key in keys():
            _say(f"| `{key.name}` | {f'`{key.default}`' if key.default else ''} | {key.reason} |")
        return
    _settings()
    _table("", [{"setting": key.name, "default": key.default, "reason": key.reason} for key in keys()])


if __name__ == "__main__":
    app()
