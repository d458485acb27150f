"""One trial: start a launcher, wait for steps, break a rank, wait for the first step beyond, sweep up."""

import contextlib
import ctypes
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks.recovery import steplog
from benchmarks.recovery.contender import WORLD, Measurement, Trial
from benchmarks.recovery.steplog import Line

HERE = Path(__file__).parent
START_S = 120.0
"""Longer than this to the first steps and the contender does not work at all."""
POLL_S = 0.01
FIRST_STEP = 10
"""The fault comes at one of the ten steps from here on."""
STEP_S = 0.05
PR_SET_CHILD_SUBREAPER = 36


def run_command(
    command: Sequence[str | Path],
    extra: Mapping[str, str],
    trial: Trial,
    folder: Path,
    settled: Callable[[], bool] = lambda: True,
    leave_s: float = 0.0,
) -> Measurement:
    """Measure a contender that is one command line; its output goes to `folder/output.log`.

    Nothing is broken before `settled`. One that cleans up behind itself has `leave_s` seconds for it.
    """
    with (folder / "output.log").open("wb") as output:
        launcher = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment(trial, folder), **extra},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the launcher
        )
        try:
            measured = measure(trial, folder / "steps.log", lambda: launcher.poll() is None, settled)
        finally:
            _end(launcher, leave_s)
    return measured if measured.seconds is not None else _with_last_words(measured, folder / "output.log")


def environment(trial: Trial, folder: Path) -> dict[str, str]:
    """Build what the workload reads from its environment."""
    return {
        "RECOVERY_FOLDER": str(folder),
        "RECOVERY_SAVE_EVERY": str(trial.save_every),
        "RECOVERY_TIMEOUT_S": "" if trial.timeout_s is None else str(trial.timeout_s),
        "RECOVERY_LIFETIME_S": str(START_S + trial.cap_s),
        "PYTHONPATH": str(HERE),
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }


def _end(launcher: "subprocess.Popen[bytes]", leave_s: float) -> None:
    if leave_s:
        launcher.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            launcher.wait(leave_s)


def measure(
    trial: Trial, log: Path, alive: Callable[[], bool], settled: Callable[[], bool] = lambda: True
) -> Measurement:
    """Inject the trial's fault into the ranks behind this step log, and wait for the step beyond it."""
    chance = random.Random(trial.seed)
    rank, step = chance.randrange(WORLD), FIRST_STEP + chance.randrange(10)
    if not _wait(lambda: settled() and steplog.completed(steplog.read(log)) >= step, START_S, alive):
        return Measurement(None, None, 0, f"did not reach step {step}")
    time.sleep(chance.uniform(0, STEP_S))
    victim = inject(trial, steplog.newest_per_rank(steplog.read(log))[rank])
    if not _wait(lambda: steplog.find_recovery(steplog.read(log), victim) is not None, trial.cap_s, alive):
        return Measurement(None, None, 0, "ended" if not alive() else f"no step within {trial.cap_s:g} s")
    recovery = steplog.find_recovery(steplog.read(log), victim)
    assert recovery is not None
    return Measurement(recovery.at - victim.at, recovery.steps_lost, recovery.pids_kept)


def inject(trial: Trial, line: Line) -> Line:
    """Signal the process that wrote this line; returns the line, at the time of the injection."""
    at = time.time()
    os.kill(line.pid, signal.Signals[trial.fault])
    return replace(line, at=at)


def _wait(done: Callable[[], bool], limit_s: float, alive: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + limit_s
    while not done():
        if time.monotonic() > deadline or not alive():
            return done()
        time.sleep(POLL_S)
    return True


def _with_last_words(measured: Measurement, output: Path) -> Measurement:
    lines = output.read_text(errors="replace").split("\n")
    errors = [line.strip() for line in lines if "Error" in line]
    return replace(measured, note=f"{measured.note}; {errors[-1]:.200}" if errors else measured.note)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, so that `sweep` finds it."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def sweep() -> None:
    """Kill and reap every descendant of this process, stopped or not."""
    while descendants := psutil.Process().children(recursive=True):
        for process in descendants:
            process.kill()
        psutil.wait_procs(descendants, timeout=5)
