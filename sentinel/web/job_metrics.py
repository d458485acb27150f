"""How the jobs train, as Prometheus gauges."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from sentinel.phases import PHASES
from sentinel.web.families import labelled
from sentinel.web.view import JobView

STATS = ("min", "median", "max")

Value = Callable[[JobView], float | None]
GAUGES: tuple[tuple[str, str, Value], ...] = (
    ("job_step", "Last step completed by all ranks.", lambda j: j.step),
    ("job_generation", "How often the gang was formed.", lambda j: j.generation),
    ("job_ranks", "Seats in the present generation.", lambda j: len(j.seats)),
    ("job_ranks_wanted", "World size asked for.", lambda j: j.wanted),
    ("job_standbys", "Warm standbys.", lambda j: len(j.standbys)),
    ("job_running", "1 while the job trains.", lambda j: j.stage == "running"),
    (
        "job_ranks_heard",
        "Seated ranks whose heartbeat is no older than policy.silent_s.",
        lambda j: j.pulse.heard,
    ),
    (
        "job_heartbeat_age_seconds",
        "Since the newest heartbeat of any of its ranks was reported.",
        lambda j: j.pulse.age_s,
    ),
    ("job_step_duration_seconds", "Median time of the last steps.", lambda j: j.median_step_s),
    ("job_step_age_seconds", "Since the last new step.", lambda j: j.step_age_s),
    ("job_loss", "Global mean loss of the last step.", lambda j: j.losses[-1][1] if j.losses else None),
    (
        "job_tokens_per_second",
        "Tokens trained on, at the present pace; needs job.tokens_per_step.",
        lambda j: j.tokens_per_s,
    ),
    (
        "job_model_flops_utilisation_ratio",
        "Share of the ranks' peak arithmetic that the model needs (MFU); needs job.flops_per_step and "
        "job.peak_flops_per_rank.",
        lambda j: j.flops_share,
    ),
    ("job_snapshot_step", "Step of the newest memory snapshot.", lambda j: j.snapshot_step),
    (
        "job_snapshot_age_seconds",
        "How much training the newest memory snapshot lacks.",
        lambda j: lacks_s(j, j.snapshot_step),
    ),
    (
        "job_checkpoint_step",
        "Step of the newest checkpoint that ranks told of, -1 before.",
        lambda j: j.pulse.checkpoint_step,
    ),
    (
        "job_checkpoint_age_seconds",
        "How much training the newest checkpoint lacks.",
        lambda j: lacks_s(j, j.pulse.checkpoint_step),
    ),
)


def of_jobs(jobs: Sequence[JobView]) -> Iterator[Metric]:
    """Give what is known of each job; what is not known of one has no series."""
    for name, text, value in GAUGES:
        known = {job.job: number for job in jobs if (number := value(job)) is not None}
        yield labelled(name, text, "job_name", known)
    yield from (_phases(jobs), _outside(jobs))


def lacks_s(job: JobView, step: int) -> float | None:
    """Say how much training is lost with all that comes after a kept step; None if unknown."""
    if step < 0 or job.median_step_s is None:
        return None
    return max(0, job.step - step) * job.median_step_s + (job.step_age_s or 0.0)


def _phases(jobs: Sequence[JobView]) -> Metric:
    text = "Ranks by what they are doing now: its average over time is how a step's time is split."
    family = GaugeMetricFamily("sentinel_job_ranks_in_phase", text, labels=["job_name", "phase"])
    for job in jobs:
        for phase in PHASES:
            family.add_metric([job.job, phase], job.pulse.phases.get(phase, 0))
    return family


def _outside(jobs: Sequence[JobView]) -> Metric:
    text = (
        "Time of the last step that ranks spent outside collectives: `min`, `median` and `max` of all ranks."
    )
    labels = ["job_name", "stat"]
    family = GaugeMetricFamily("sentinel_job_step_outside_collectives_seconds", text, labels=labels)
    for job in jobs:
        for stat, seconds in zip(STATS, job.pulse.outside_s or (), strict=False):
            family.add_metric([job.job, stat], seconds)
    return family
