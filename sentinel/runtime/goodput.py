"""What a job's time went into: new steps, or what they were lost to."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from sentinel.core.idle import idle, keeping
from sentinel.core.state import State
from sentinel.core.state.rows import Job, JobStage
from sentinel.model.idleness import WITHOUT_INCIDENT
from sentinel.model.ids import Cause, IncidentId, Instant, JobId, Seconds
from sentinel.model.incident import UNKNOWN, Incident

Reached: TypeAlias = Callable[[JobId], tuple[int, Instant, Seconds] | None]
"""A job's highest step, when its newest one was made, and how long one usually takes; 0 for unknown."""


@dataclass(slots=True)
class _Account:
    """One job's time: each second is in training, in what it was lost to, or not accounted for yet."""

    mark: Instant
    """Until then everything is accounted for."""
    step: int
    """The highest until then."""
    runs: bool
    idle: str
    """Why it does not train, if nothing is wrong."""
    training: Seconds = 0.0
    productive: Seconds = 0.0
    new_steps: int = 0
    repeated: Counter[IncidentId] = field(default_factory=Counter)
    """Steps trained again, by the incidents that are known still."""
    repeated_before: int = 0
    lost: defaultdict[str, Seconds] = field(default_factory=partial(defaultdict, float))
    undiagnosed: defaultdict[str, Seconds] = field(default_factory=partial(defaultdict, float))
    """Lost to incidents whose cause nobody has said yet."""
    stood_since: Instant = 0.0
    """When it made its last step before it broke, as far as that is known."""
    blamed: str = ""
    """What the time was lost to last: of an incident that is diagnosed its cause."""

    @property
    def elapsed(self) -> Seconds:
        return self.training + sum(self.lost.values())

    def train(self, step: int, at: Instant, usual_s: Seconds) -> None:
        """New steps were made, the last of them at that time."""
        if step <= self.step:
            return
        steps, at = step - self.step, max(at, self.mark)
        self.training += at - self.mark
        # Compared as sums: that one look ends within a step makes no step quicker or slower.
        self.productive = min(self.training, self.productive + (steps * usual_s or at - self.mark))
        self.new_steps += steps
        self.step, self.mark = step, at

    def lose(self, to: Incident | str, until: Instant) -> None:
        """Nothing new was trained until then."""
        seconds, self.mark = max(0.0, until - self.mark), max(self.mark, until)
        bucket = self.lost if isinstance(to, str) else self.undiagnosed
        self.blamed = to if isinstance(to, str) else to.id
        bucket[self.blamed] += seconds

    def regain(self, at: Instant) -> None:
        """A step is heard of that was made before anybody saw that it broke: until then it trained."""
        buckets = (self.undiagnosed, self.lost)
        bucket = next((each for each in buckets if self.blamed in each), None)
        if bucket is None or at <= self.stood_since:
            return
        seconds = min(at - self.stood_since, bucket[self.blamed])
        bucket[self.blamed] -= seconds
        self.training, self.productive = self.training + seconds, self.productive + seconds
        self.stood_since = at

    def diagnose(self, state: State) -> None:
        """Say what was lost to incidents whose cause is known by now."""
        for name in list(self.undiagnosed):
            incident = state.incidents.get(IncidentId(name))
            if incident is not None and incident.diagnosis is None and not incident.is_over:
                continue
            diagnosis = incident.diagnosis if incident is not None else None
            cause = diagnosis.cause if diagnosis else UNKNOWN
            self.lost[cause] += self.undiagnosed.pop(name)
            self.blamed = cause if self.blamed == name else self.blamed

    def repeat(self, job: JobId, state: State) -> None:
        """Count what is trained again for incidents' sakes."""
        for incident in state.incidents.values():
            if incident.job == job and incident.steps_lost:
                self.repeated[incident.id] = max(self.repeated[incident.id], incident.steps_lost)
        for name in [name for name in self.repeated if name not in state.incidents]:
            self.repeated_before += self.repeated.pop(name)


class Goodput(Collector):
    """Looks when facts were committed and at each scrape, never in between: only facts stop a job."""

    def __init__(
        self, state: State, causes: Iterable[Cause], reached: Reached, now: Callable[[], Instant]
    ) -> None:
        self._state, self._reached, self._now = state, reached, now
        self._causes = (*causes, *WITHOUT_INCIDENT)
        self._accounts: dict[JobId, _Account] = {}

    def look(self) -> None:
        """Account for every job's time until now."""
        now = self._now()
        for job in self._state.jobs.values():
            high, at, usual_s = self._reached(job.id) or (job.high_step, now, 0.0)
            account = self._accounts.get(job.id)
            if account is None:
                account = self._accounts[job.id] = _Account(
                    now, max(high, job.high_step), _runs(job), idle(job)
                )
            _look(account, job, self._state, (max(high, job.high_step), min(at, now), usual_s), now)

    def collect(self) -> Iterator[Metric]:
        """Give the figures of this moment."""
        self.look()
        counters: tuple[tuple[str, str, Callable[[_Account], float]], ...] = (
            (
                "job_elapsed_seconds",
                "Time of the job's life that this controller has accounted for.",
                lambda each: each.elapsed,
            ),
            (
                "job_training_seconds",
                "Of that, what went into steps that were new: the effective training time.",
                lambda each: each.training,
            ),
            (
                "job_productive_seconds",
                "Of that, what these steps take at the job's usual pace.",
                lambda each: each.productive,
            ),
            ("job_new_steps", "Steps that were completed for the first time.", lambda each: each.new_steps),
            (
                "job_repeated_steps",
                "Steps that were trained again.",
                lambda each: each.repeated_before + each.repeated.total(),
            ),
        )
        for name, text, value in counters:
            family = CounterMetricFamily(f"sentinel_{name}", text, labels=["job_name"])
            for job, account in self._accounts.items():
                family.add_metric([job], value(account))
            yield family
        yield self._lost()
        yield self._ratio(
            "job_effective_training_time_ratio",
            "Training time of the elapsed, since this controller took over.",
            lambda each: each.training,
        )
        yield self._ratio(
            "job_goodput_ratio",
            "Productive time of the elapsed, since this controller took over.",
            lambda each: each.productive,
        )

    def describe(self) -> Iterator[Metric]:
        """Name nothing in advance: registering asks nobody."""
        yield from ()

    def _lost(self) -> Metric:
        text = "Time without a new step, by what it was lost to: a runbook's cause, or why nothing is wrong."
        family = CounterMetricFamily("sentinel_job_lost_seconds", text, labels=["job_name", "cause"])
        for job, account in self._accounts.items():
            for cause in dict.fromkeys((*self._causes, *account.lost)):
                family.add_metric([job, cause], account.lost.get(cause, 0.0))
        return family

    def _ratio(self, name: str, text: str, part: Callable[[_Account], Seconds]) -> Metric:
        family = GaugeMetricFamily(f"sentinel_{name}", text, labels=["job_name"])
        for job, account in self._accounts.items():
            if account.elapsed > 0:
                family.add_metric([job], part(account) / account.elapsed)
        return family


def _runs(job: Job) -> bool:
    return job.stage is JobStage.RUNNING


def _look(
    account: _Account, job: Job, state: State, reached: tuple[int, Instant, Seconds], now: Instant
) -> None:
    high, at, usual_s = reached
    account.diagnose(state)
    account.repeat(job.id, state)
    if job.stage is JobStage.FINISHED:
        account.train(high, at, usual_s)
        account.mark, account.runs = now, False
        return
    if account.runs:
        account.train(high, at, usual_s)
        account.stood_since = account.mark
    if not (account.runs and _runs(job)):
        why = idle(job) if account.runs else account.idle  # the step that ends a start is none of it
        account.lose(keeping(job, state) or why, now)
        account.diagnose(state)
    if not account.runs and high > account.step and not _runs(job):
        account.regain(at)
    if not account.runs and high > account.step:  # the step that says that it runs again
        account.new_steps += high - account.step
        account.step = high
    account.runs, account.idle = _runs(job), idle(job)
