"""`sentinel demo`: break a small real cluster on this machine, watch it being repaired, check the result."""

import json as json_module
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sentinel.console import console, say_json
from sentinel.demo import losses
from sentinel.demo.fault import Fault
from sentinel.demo.faults import DEFAULT, FAULTS
from sentinel.demo.network import available
from sentinel.demo.nvml import no_compiler
from sentinel.demo.observe import BEYOND, WHOLE_S, Before, observe, reporting, settle, settled_steps
from sentinel.demo.result import Result
from sentinel.demo.sandbox import FRESH_S, Sandbox, SandboxError, wait
from sentinel.demo.steady import keep_running
from sentinel.model.counted import counted


def main(
    faults: Sequence[str],
    nodes: int,
    gpus: int,
    runs: int,
    *,
    json: bool,
    seed: int | None,
    steady: bool,
    monitored: bool = False,
    ranks: int | None = None,
    stand_in: bool = False,
) -> int:
    """Run the demo; 0 only if everything came out as it must."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    show = console(stderr=json, highlight=False)
    chosen = [FAULTS[name] for name in (faults or DEFAULT)] * runs
    seed = seed if seed is not None else random.SystemRandom().randrange(1_000_000)
    lacking = no_compiler() if stand_in else ""
    if lacking:
        show.print(f"[yellow]{lacking}: the GPUs are simulated, and no driver is asked[/]")
    options = _options(nodes, gpus, ranks, stand_in=stand_in and not lacking)
    try:
        if steady:
            return keep_running(show, options, monitored=monitored)
        results = _Show(show, options, seed, json=json).run(chosen)
    except KeyboardInterrupt:
        show.print("stopped")
        return 130
    _table(show, results)
    return 0 if all(not result.wrong and not result.skipped for result in results) else 1


class _Show:
    """One run through a list of faults. A sandbox lasts until a fault spoils it."""

    def __init__(self, show: Console, options: dict[str, Any], seed: int, *, json: bool) -> None:
        self._console, self._options, self._seed, self._json = show, options, seed, json
        self._sandbox: Sandbox | None = None
        self._began = time.monotonic()
        self._results: list[Result] = []
        self._printed = 0
        """Results that were printed: each when its sandbox ends, with its losses compared."""
        self._unchecked: list[tuple[Result, int]] = []
        """Results on this sandbox with the first step that they recovered to."""

    def run(self, faults: Sequence[Fault]) -> list[Result]:
        """Inject one after the other."""
        try:
            for number, fault in enumerate(faults):
                try:
                    self._one(fault, self._seed + number)
                except SandboxError as error:  # one fault that goes wrong does not hide the others
                    self._say(f"[red]{fault.name}: {escape(str(error))}[/]")
                    self._results.append(Result(fault.name, self._seed + number, wrong=[str(error)]))
                    self._close()
            self._close()
        except BaseException:  # Ctrl-C wants the end, not another run to compare with
            self._end()
            raise
        return self._results

    def _print(self) -> None:
        for result in self._results[self._printed :] if self._json else ():
            say_json(json_module.dumps(result.to_plain()))
        self._printed = len(self._results)

    def _say(self, text: str) -> None:
        self._console.print(f"[dim]{time.monotonic() - self._began:6.1f} s[/]  {text}")

    def _one(self, fault: Fault, seed: int) -> None:
        needs = getattr(fault, "sandbox", {})
        if self._sandbox is not None and needs:
            self._close()
        fresh = self._sandbox is None
        sandbox = self._sandbox or self._open(needs)
        reason = fault.needs(sandbox)
        if reason:
            self._say(f"[yellow]{fault.name}: skipped, {escape(reason)}[/]")
            self._results.append(Result(fault.name, seed, skipped=reason))
            if needs:
                self._close()
            return
        self._settle(sandbox)
        led_up = fault.lead_up(sandbox, _chance(seed))
        chance = _chance(seed)
        before = Before.look(sandbox, fresh=fresh and not led_up)
        injection = fault.inject(sandbox, chance)
        truth = injection.truth
        where = (
            f"rank {truth.rank} on {truth.node}" if truth.rank is not None else truth.node or "the cluster"
        )
        self._say(f"[bold]{fault.name}[/]: {where}, step {before.step}")
        result = observe(sandbox, fault, seed, before, injection)
        self._tell(result)
        self._results.append(result)
        steps = settled_steps(sandbox, before, injection)
        resumes = (injection.expected or fault.expected).resumes
        if resumes and steps and result.world == sandbox.world:
            self._unchecked.append((result, steps[0]["step"]))
        injection.undo()
        if needs or not resumes or result.wrong:
            self._close()

    def _open(self, needs: dict) -> Sandbox:  # type: ignore[type-arg]
        options = self._options
        nodes, ranks = f"{options['nodes']} nodes", f"{options['world']} ranks"
        self._say(f"starting Ray: a head and {nodes} for {ranks} ({options['topology']})")
        if options["stand_in"]:
            met = f"{counted(options['gpus_per_node'], 'GPU')} a node"
            self._say(f"{met}, met through NVIDIA's own binding: a stand-in for its library answers")
        self._sandbox = Sandbox.start(**{**options, **needs})
        self._say(f"Sentinel's pages: {self._sandbox.url}/")
        self._sandbox.wait_for_training(FRESH_S)
        self._say("training has begun; standbys warm up")
        return self._sandbox

    def _settle(self, sandbox: Sandbox) -> None:
        """Put everything back and wait until it is as it was."""
        nodes = wait("every node reports", WHOLE_S, lambda: reporting(sandbox))
        for name in nodes:
            sandbox.command("undrain", target=name, who="demo", reason="repaired")
        settle(sandbox)

    def _tell(self, result: Result) -> None:
        wrong = escape("; ".join(result.wrong))
        verdict = f"[red]FAILED: {wrong}[/]" if wrong else "[green]passed[/]"
        parts = [f"{name} {value:.2f} s" for name, value in _times(result)]
        self._say(f"    {escape(str(result.cause))}: {', '.join(parts)}; {verdict}")

    def _close(self) -> None:
        """Compare the losses with an undisturbed run, then end the sandbox."""
        if self._sandbox is not None:
            self._compare(self._sandbox)
        self._end()

    def _end(self) -> None:
        """End the sandbox, and tell of whatever has no line yet."""
        sandbox, self._sandbox = self._sandbox, None
        for result, _ in self._unchecked:
            if result.losses_equal is None:
                result.wrong.append("its losses were not compared")
        self._unchecked = []
        try:
            if sandbox is not None:
                self._console.print(f"[dim]logbook, recordings and journal: {_keep(sandbox)}[/]")
        finally:
            if sandbox is not None:
                sandbox.stop()
            self._print()

    def _compare(self, sandbox: Sandbox) -> None:
        if not self._unchecked:
            return
        log = sandbox.cluster.root / "job" / "losses.jsonl"
        last = max(step for _, step in self._unchecked) + BEYOND
        self._say(f"comparing losses with an undisturbed run of {last} steps")
        skip = sandbox.skipped()
        sandbox.end_job()
        try:
            wanted = losses.reference(sandbox, last + 1, skip)
        except subprocess.CalledProcessError as error:
            self._say(f"[red]{escape(str(error))}[/]")
            return
        differing = losses.differing(log, wanted)
        self._say("compared; the cluster ends")
        for result, step in self._unchecked:
            result.losses_equal = not any(step <= other <= step + BEYOND for other in differing)
            if not result.losses_equal:
                result.wrong.append("losses differ from the undisturbed run")


def _options(nodes: int, gpus: int, ranks: int | None, *, stand_in: bool) -> dict[str, Any]:
    """Give the options of the sandbox: every GPU but the spare's has a rank, or there are so many."""
    return {
        "nodes": nodes,
        "gpus_per_node": gpus,
        "world": ranks or (nodes - 1) * gpus,
        "topology": "loopback" if available() else "netns",
        "stand_in": stand_in,
    }


def _chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - repeatable, not secret


def _keep(sandbox: Sandbox) -> str:
    """Copy what the sandbox wrote to where it outlives the cluster."""
    from pathlib import Path

    from sentinel.demo.keep import keep

    target = Path.cwd() / "run" / f"demo-{sandbox.cluster.name}"
    keep(sandbox, target)
    return str(target)


def _times(result: Result) -> list[tuple[str, float]]:
    named = (
        ("seen", result.detected_s),
        ("diagnosed", result.diagnosed_s),
        ("paged", result.paged_s),
        ("evicted", result.evicted_s),
        ("new step", result.new_step_s),
    )
    return [(name, value) for name, value in named if value is not None]


def _table(show: Console, results: Sequence[Result]) -> None:
    columns = "fault, cause", "blamed", "seen", "paged", "evict", "step", "lost", "loss", "result"
    title = "seconds to each stage and to a new step; steps lost"
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for name in columns:
        table.add_column(name, no_wrap=True)
    for result in results:
        places = ([v for v in asdict(each).values() if v is not None] for each in result.suspects)
        where = ", ".join(" ".join(map(str, place)) for place in places)
        seconds = [result.detected_s, result.paged_s, result.evicted_s, result.new_step_s]
        equal = {True: "equal", False: "DIFFER", None: ""}[result.losses_equal]
        verdict = "skipped" if result.skipped else "wrong" if result.wrong else "ok"
        lost = "" if result.steps_lost is None else str(result.steps_lost)
        shown = [f"{value:.2f}" if value is not None else "" for value in seconds]
        cause = f"\n{result.cause}" if result.cause not in (None, result.fault) else ""
        table.add_row(escape(f"{result.fault}{cause}"), escape(where), *shown, lost, equal, verdict)
    show.print(table)
    for result in results:
        for line in [result.skipped] if result.skipped else result.wrong:
            show.print(f"{result.fault} (seed {result.seed}): {line}", markup=False)
