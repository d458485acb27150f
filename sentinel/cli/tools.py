"""Commands that need no controller: decide a past again, check this machine, the demo, the settings."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sentinel.cli.frame import (
    FAILED,
    INSPECT,
    MISUSED,
    AsJson,
    CommandError,
    app,
    config_file,
    duration,
    examples,
    say,
    say_document,
    say_json,
    settings,
    table,
)

if TYPE_CHECKING:
    from sentinel.model.policy import Policy
    from sentinel.rehearse.run import Books


@app.command(rich_help_panel=INSPECT, epilog=examples("sentinel replay recordings/I-0007.jsonl"))
def replay(
    file: Annotated[Path, typer.Argument(help="A recording from the logbook.")],
    json: Annotated[bool, typer.Option("--json", help="One object a line and fact.")] = False,
) -> None:
    """Run a recording through today's decisions; exit 1 when they differ from the recorded ones."""
    from sentinel.core.fold import fold_together
    from sentinel.core.replay import replay as tell_again
    from sentinel.core.state import Rules, State
    from sentinel.logbook.recording import read
    from sentinel.model.codec import from_plain
    from sentinel.model.policy import Policy
    from sentinel.runbooks import load
    from sentinel.terminal import plain_replay, print_replay

    given = settings()
    policy = given.policy
    try:
        recording = read(file.read_text(encoding="utf-8"), str(file))
        policy = from_plain(Policy, recording.policy) if recording.policy else policy
        state = State.from_plain(recording.state) if recording.state else State()
    except (ValueError, KeyError, TypeError) as error:
        message = str(error)
        raise CommandError(
            message if str(file) in message else f"{file}: not a recording: {message}"
        ) from None
    if not recording.lines:
        raise CommandError(f"{file}: holds no fact")
    rules = Rules(policy, load(own=given.cluster.runbooks_dir))
    compared = tell_again(recording.lines, state, lambda now, facts: fold_together(now, facts, rules))
    if not json:
        raise typer.Exit(FAILED if print_replay(compared) else 0)
    differing = False
    for line in plain_replay(compared):
        say_document(line)
        differing |= bool(line["differs"])
    raise typer.Exit(FAILED if differing else 0)


@app.command(
    rich_help_panel=INSPECT,
    epilog=examples(
        "sentinel rehearse scenario.yaml --explain",
        "sentinel rehearse --journal journal.db --since 30d --policy candidate.toml",
    ),
)
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
        Path | None, typer.Option(help="A folder of runbooks; without: those in force here.")
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
    given = load(policy) if policy else settings()
    numbers, own = given.policy, None if runbooks else settings().cluster.runbooks_dir
    books = load_runbooks(runbooks, own=own)
    if journal is not None:
        raise typer.Exit(_retell(journal, duration(since, "--since"), numbers, books, json=json))
    from sentinel.rehearse import run

    verdicts = []
    for scenario in run.scenarios(files or ()):
        verdict, why = run.rehearse(scenario, numbers, books, own_policy=policy is None, explain=explain)
        verdicts.append(verdict)
        for line in [run.as_json(verdict, why)] if json else run.as_text(scenario, verdict, why):
            (say_json if json else say)(line)
    if not json:
        say(run.summary(verdicts))
    raise typer.Exit(0 if all(verdict.ok for verdict in verdicts) else FAILED)


def _retell(journal: Path, back: float, policy: "Policy", books: "Books", *, json: bool) -> int:
    """Print what would be decided differently from what a journal holds; gives the exit code."""
    import time

    from sentinel.core.state import Rules
    from sentinel.rehearse import retell

    since = time.time() - back
    compared = retell.from_journal(journal, since, Rules(policy, books))
    for line in retell.as_json(compared) if json else retell.as_text(compared, since):
        (say_json if json else say)(line)
    return FAILED if compared.defects or any(pair.differs for pair in compared.pairs) else 0


@app.command(name="page-test", rich_help_panel=INSPECT, epilog=examples("sentinel page-test"))
def page_test(json: AsJson = False) -> None:
    """Send a test page to everybody who gets pages, and resolve it; exit 1 when one did not arrive.

    Each channel of on-call and of each receiver is told, fallbacks and those for some causes only, too.
    """
    from sentinel.runtime.page_test import send

    reached = send(settings())
    if json:
        say_document([each._asdict() for each in reached])
    else:
        table("", [each.row() for each in reached])
    if not json and all(each.channel.startswith("file:") for each in reached):
        say(
            "pages go to this file and the controller's console only: give a Slack token, or [receivers.NAME]"
        )
    raise typer.Exit(FAILED if any(each.error for each in reached) else 0)


@app.command(
    rich_help_panel=INSPECT,
    epilog=examples("sentinel demo", "sentinel demo --fault node-cut", "sentinel demo --watched"),
)
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
    ranks: Annotated[
        int | None, typer.Option(min=1, help="Of all, where that is fewer than the GPUs but the spare's.")
    ] = None,
    stand_in: Annotated[
        bool,
        typer.Option(
            "--stand-in-driver",
            help="Meet the GPUs through NVIDIA's own library, which a stand-in built with gcc answers for.",
        ),
    ] = False,
    runs: Annotated[int, typer.Option(min=1, help="How often each fault is injected.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="One line per fault.")] = False,
    seed: Annotated[int | None, typer.Option(help="Repeats the same choices.")] = None,
    steady: Annotated[bool, typer.Option(help="Keep running until Ctrl-C, and say what runs where.")] = False,
    monitored: Annotated[
        bool,
        typer.Option("--observe", help="As --steady, with a real Prometheus and Alertmanager beside it."),
    ] = False,
    watched: Annotated[
        bool, typer.Option("--watched", help="Break a job that torchrun started, and that Sentinel watches.")
    ] = False,
    clean: Annotated[
        bool,
        typer.Option(
            "--clean", help="Only take away what a demo that was killed left behind; each does that."
        ),
    ] = False,
) -> None:
    """Break a small cluster on this machine, and watch it being repaired; the files stay in ./run."""
    if clean:
        from sentinel.demo.leftovers import sweep

        say("\n".join(f"removed {name}" for name in sweep()) or "nothing is left behind")
        raise typer.Exit
    from sentinel.demo.faults import NAMES
    from sentinel.demo.main import main

    if watched:
        from sentinel.demo.watched import main as break_watched

        raise typer.Exit(break_watched())
    faults = [name.strip() for item in fault or () for name in item.split(",") if name.strip()]
    for name in faults:
        if name not in NAMES:
            raise CommandError(f"no fault {name!r}: known are {', '.join(sorted(NAMES))}", MISUSED)
    if fault and not faults:
        raise CommandError(f"--fault names none: known are {', '.join(sorted(NAMES))}", MISUSED)
    if monitored:
        from sentinel.demo.monitoring import missing

        if lacking := missing():
            raise CommandError(lacking)
    steady = steady or monitored
    if ranks is not None and ranks > (nodes - 1) * gpus:
        raise CommandError(f"--ranks {ranks}: {nodes} nodes have places for {(nodes - 1) * gpus}", MISUSED)
    amount = nodes, gpus, runs
    raise typer.Exit(
        main(
            faults,
            *amount,
            json=json,
            seed=seed,
            steady=steady,
            monitored=monitored,
            ranks=ranks,
            stand_in=stand_in,
        )
    )


@app.command(
    rich_help_panel=INSPECT,
    epilog=examples(
        "sentinel config", "sentinel config --changed --check", "SENTINEL_JOB__WORLD=64 sentinel config"
    ),
)
def config(
    changed: Annotated[bool, typer.Option("--changed", help="Only what is not the default.")] = False,
    reasons: Annotated[bool, typer.Option("--reasons", help="Say what each setting is for.")] = False,
    check: Annotated[
        bool,
        typer.Option("--check", help="Also read whatever they name, as a controller would at its start."),
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="The defaults, as the table of docs/operating.md.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Show each setting in effect, and where it came from: the default, a line, or the environment.

    The file is that of --config, or else of $SENTINEL_CONFIG, ./sentinel.toml, /etc/sentinel/sentinel.toml.
    With --check receivers, routes, calendars, tokens and runbooks are read, too: a mistake is one line.
    """
    from sentinel.config import effective, keys, source

    if check:
        from sentinel.runtime.startable import look_over

        look_over(settings())

    if markdown:
        for key in keys():
            say(f"| `{key.name}` | {f'`{key.default}`' if key.default else ''} | {key.reason} |")
        return
    why = {key.name: key.reason for key in keys()} if reasons else {}  # reading the source takes 90 ms
    rows = [
        {"setting": each.name, "value": each.value, "from": each.origin}
        | ({"reason": why.get(each.generic, "")} if reasons else {})
        for each in effective(config_file())
        if not changed or each.origin != "default"
    ]
    if json:
        say_document({"used": source(config_file()), "settings": rows})
        return
    table("", rows) if rows else say("nothing is set: all are the defaults")
    say(f"settings used: {source(config_file())}")
