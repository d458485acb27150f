"""The one sentence that a tired person needs first: is all well, and if not, what is wrong."""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from sentinel.model.counted import counted
from sentinel.model.finding import Health
from sentinel.model.ids import Instant
from sentinel.web.view import JobView, Silence, Status

WELL = frozenset({"running", "stopped", "finished"})
"""Stages of a job for which nothing has to be done."""

MOST_NAMES = 8
"""Nodes that a sentence names."""


class Level(StrEnum):
    """How loud the verdict is."""

    GOOD = "good"
    NOTICE = "notice"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A level, a headline, and at most one sentence more per reason."""

    level: Level
    headline: str
    details: tuple[str, ...] = ()


def verdict(status: Status) -> Verdict:
    """Sum up the cluster: open incidents first, then what keeps Sentinel from acting, then quiet doubts."""
    held = _held(status)
    doubts = _doubts(status)
    quiet = tuple(map(_silenced, status.silences))
    left = tuple(line for line in status.left if not line.startswith("degraded: "))  # a doubt says it
    details = (*held, *doubts, *left, *quiet)
    if status.incidents:
        return Verdict(_incident_level(status), _incidents(status), details)
    if held:
        return Verdict(Level.NOTICE, "Sentinel is not acting", details)
    if doubts:
        return Verdict(Level.NOTICE, "No open incident, but look here", details)
    kept = sorted(node.node for node in status.nodes if node.maintained)
    away: tuple[str, ...] = (f"In maintenance: {', '.join(kept)}.",) if kept else ()
    jobs = tuple(map(training, status.jobs)) or ("No job runs.",)
    looks = _looks(status)
    well = not (status.left or quiet or any(node.needs_a_look for node in status.nodes))
    trains = any(job.stage == "running" for job in status.jobs)
    headline = "All is well" if well else "Training goes on" if trains else "No incident is open"
    return Verdict(Level.GOOD, headline, (*jobs, *status.left, *looks, *away, *quiet))


def _looks(status: Status) -> tuple[str, ...]:
    """Name the nodes that have something to look at, though it stops nobody."""
    found = [node for node in status.nodes if node.needs_a_look and not (node.maintained or node.cordon)]
    names = ", ".join(node.node for node in found[:MOST_NAMES])
    more = f" and {len(found) - MOST_NAMES} more" if len(found) > MOST_NAMES else ""
    return (f"To look at, below: {names}{more}.",) if found else ()


def _clock(at: Instant) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%m-%d %H:%M")


def training(job: JobView) -> str:
    """Say in a sentence what a job is doing."""
    if job.stage == "forming":
        return f"{job.job} is forming generation {job.generation}; its last step is {job.step}."
    if job.stage != "running":
        return f"{job.job} is {job.stage}{job.needs and ': it needs '}{job.needs}."
    return f"{job.job} is training with {len(job.seats)} of {job.wanted} ranks."


def _incident_level(status: Status) -> Level:
    unattended = any(incident.stage == "open" and not incident.acked_by for incident in status.incidents)
    stuck = any(job.stage not in WELL for job in status.jobs)
    return Level.BAD if unattended or stuck else Level.NOTICE


def _incidents(status: Status) -> str:
    if len(status.incidents) == 1:
        newest = status.incidents[0]
        return f"{newest.title}: {newest.where}" if newest.where not in newest.title else newest.title
    return counted(len(status.incidents), "open incident")


def _silenced(silence: Silence) -> str:
    said = ": ".join(part for part in (silence.who, silence.reason) if part)
    return f"Silenced until {_clock(silence.until)} UTC: {silence.target}{said and f' ({said})'}."


def _held(status: Status) -> tuple[str, ...]:
    reasons = []
    if status.stopped:
        reasons.append(f"All actions were stopped by {status.stopped}.")
    if status.frozen:
        reasons.append(f"Actions are frozen: {status.frozen}.")
    if status.observe_only:
        reasons.append("Observe-only: Sentinel says what it would do, and does nothing but page.")
    return tuple(reasons)


def _doubts(status: Status) -> tuple[str, ...]:
    counted = [node for node in status.nodes if not node.maintained]
    silent = sum(node.silent for node in counted)
    critical = sum(node.health is Health.CRITICAL and not node.cordon for node in counted)
    idle = [training(job) for job in status.jobs if job.stage not in WELL]
    shrunk = [
        f"{job.job} is degraded: it {'trains' if job.stage == 'running' else 'forms'} "
        f"with {len(job.seats)} of {job.wanted} ranks."
        for job in status.jobs
        if job.is_degraded
    ]
    ray = [f"Ray can't be asked: {status.ray_trouble}."] if status.ray_trouble else []
    ray += [f"Buttons in Slack do not work: {status.slack_trouble}."] if status.slack_trouble else []
    counts = [f"Silent nodes: {silent} of {len(status.nodes)}."] if silent else []
    counts += [f"Nodes with critical findings that are not cordoned: {critical}."] if critical else []
    return (*ray, *idle, *shrunk, *counts)
