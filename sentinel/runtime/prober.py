"""The agent's child that runs what may hang: every call into a GPU driver or to a mount.

It answers one question a line, in JSON, on its standard output, and dies with the agent. The agent gives
each question a deadline and ends a prober that misses it.
"""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import msgspec

from sentinel.checks import load, load_collective
from sentinel.model.check import DriverEvents, Gpus, Machine
from sentinel.model.codec import from_plain, to_plain
from sentinel.model.collective import Meeting
from sentinel.parent import die_with
from sentinel.runtime.agent.process import OURS_ALONE
from sentinel.runtime.probe import (
    PREPARE,
    Answer,
    Introduction,
    Measured,
    NoGpus,
    ProberTask,
    measure,
    prepare,
    probe,
    short_pci,
)


def open_gpus(spec: str) -> Gpus:
    """Give the GPUs that `nvml`, `simulated:FILE` or `none` names."""
    if spec == "nvml":
        from sentinel.adapters.nvml import NvmlGpus  # loaded only where there is a driver

        return NvmlGpus()
    if spec.startswith("simulated:"):
        from sentinel.adapters.simulated_gpu import SimulatedGpus

        return SimulatedGpus(Path(spec.removeprefix("simulated:")))
    return NoGpus()


def open_events(spec: str) -> DriverEvents | None:
    """Give what tells of Xids beside the kernel log: only a real driver does."""
    if spec != "nvml":
        return None
    from sentinel.adapters.nvml_events import NvmlEvents

    return NvmlEvents()


def main() -> None:
    """Serve until the agent closes the pipe or dies."""
    task = msgspec.convert(json.loads(sys.argv[1]), ProberTask)
    die_with(task.parent)
    os.umask(OURS_ALONE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is the agent's to handle
    answers = _take_stdout()
    checks, collective = load(), load_collective()
    gpus = open_gpus(task.gpus)
    machine = Machine(task.node, gpus, task.expected_gpus, task.disks, memory=task.memory, kept=task.kept)
    _answer(answers, introduction(machine))
    machine = replace(machine, driver_events=open_events(task.gpus))
    for line in sys.stdin:
        name, _, about = line.strip().partition(" ")
        if name == PREPARE and about in collective:
            _answer(answers, prepare(collective[about]))
        elif check := checks.get(name):  # else nobody is answered, and the agent starts another
            _answer(answers, probe(check, machine))
        elif together := collective.get(name):
            _answer(answers, measure(together, from_plain(Meeting, json.loads(about))))


def introduction(machine: Machine) -> Introduction:
    """Say how many GPUs there are and at which address each answers."""
    try:
        samples = machine.gpus.sample()
    except Exception as error:  # the gpu check will say what is wrong
        return Introduction(0, {}, str(error))
    return Introduction(len(samples), {short_pci(each.pci): each.index for each in samples if each.pci})


def _take_stdout() -> TextIO:
    """Keep standard output for answers: whatever a check or a driver prints goes to standard error."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return answers


def _answer(answers: TextIO, answer: Answer | Introduction | Measured) -> None:
    answers.write(json.dumps(to_plain(answer)) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()
