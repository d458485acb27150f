"""The numbers that decide, each with its reason; their hash is journalled with every decision."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import TypeVar

from sentinel.model.ids import Seconds

N = TypeVar("N", int, float)


def number(default: N, least: N, most: N) -> N:
    """Give a field its default and the bounds between which it still protects."""
    found: N = field(default=default, metadata={"least": least, "most": most})
    return found


def names(default: tuple[str, ...], among: type[StrEnum] | None = None) -> tuple[str, ...]:
    """Give a field of words its default, and which words there are; None: any."""
    found: tuple[str, ...] = field(default=default, metadata={"among": tuple(among) if among else ()})
    return found


class Rung(StrEnum):
    """One rung of the ladder of repairs; above the last one are people."""

    GPU_RESET = "gpu-reset"
    """`nvidia-smi --gpu-reset` of the GPUs that a finding names."""
    REBOOT = "reboot"
    """The operator's `operations.reboot_command`."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of detection and guards of action."""

    # What a broken job waits for before its cause is named

    gather_s: Seconds = number(0.3, 0.05, 10.0)
    """How long a crash waits for its node's immediate probe, so that speed does not outrun the cause."""
    broken_s: Seconds = number(4.5, 0.5, 60.0)
    """How long a gang that broke without a culprit waits for one (a silent node shows after `silent_s`)."""
    stacks_s: Seconds = number(1.5, 0.1, 60.0)
    """A hang waits this long for its ranks' stacks: py-spy needs 0.1 to 0.5 s a process on a busy machine."""

    # A job that stands still, and who holds it up

    stall_s: Seconds = number(2.2, 0.5, 3600.0)
    """A job without a new step for this long is stalled, if `stall_factor` median steps are shorter."""
    stopped_s: Seconds = number(1.4, 0.5, 3600.0)
    """The same where a rank's process is stopped, and no beat of it came for `beat_stale_s`: it is not slow.

    `stall_s`, where that is less.
    """
    stall_factor: float = number(2.6, 1.5, 100.0)
    """Median steps without progress that make a stall; under 3, so that a hang shows within 3 of them."""
    warm_up_stall_s: Seconds = number(5.0, 0.5, 3600.0)
    """As long as a generation has not made `warm_up_steps`, and all its processes run: new ones fill caches.

    On crowded processors a healthy one took 2.3 s for its second step, and was killed for it three times.
    """
    slow_phase_s: Seconds = number(600.0, 10.0, 86400.0)
    """Set-up, first step, load, save and evaluation may take this long, or steps of ranks without phases."""
    motion_s: Seconds = number(1.0, 0.1, 10.0)
    """Ranks that have completed collectives within this, or within a median step, are not hung."""
    beat_stale_s: Seconds = number(1.0, 0.4, 60.0)
    """A process whose last beat is older stands still: one comes every 0.2 s, five missed are no hiccup."""
    steps_apart: int = number(2, 1, 100)
    """A record that is further from its gang's middle is not believed: no rank can be two steps ahead."""
    pace_steps: int = number(32, 10, 1000)
    """The median step is that of so many last ones: enough that one checkpoint does not move it."""
    paced_steps: int = number(3, 1, 10)
    """The step time is put on record, for a controller that takes over, once so many steps were seen."""
    pace_change: float = number(2.0, 1.1, 100.0)
    """The step time is put on record again when it has become so many times longer or shorter."""
    sure_missing: float = number(0.6, 0.1, 1.0)
    """How sure it is that a rank that reports nothing holds the others up: its node may only be slow to tell.

    The four `sure_…` multiply the runbook's confidence.
    """
    sure_stopped: float = number(0.97, 0.1, 1.0)
    """The same of a rank whose process is stopped: the kernel says so."""
    sure_stale: float = number(0.85, 0.1, 1.0)
    """The same of a rank whose beat thread stands still."""
    sure_behind: float = number(0.8, 0.1, 1.0)
    """The same of a rank that has entered fewer collectives than the others: it may be a victim itself."""

    sure_doubted: float = number(0.5, 0.1, 1.0)
    """Multiplies that once more where torch's flight recorder says that the rank is not behind."""

    # Nodes' clocks, which decide nothing

    clock_offset_s: Seconds = number(1.0, 0.1, 3600.0)
    """A node's clock this far off the controller's is a warning, as etcd's: its logs are dated wrong."""
    clock_window_s: Seconds = number(30.0, 1.0, 3600.0)
    """Of the reports of so long the one that took least says how far: a burst of traffic is over by then."""

    # Nodes that are not heard

    silent_s: Seconds = number(2.5, 1.0, 60.0)
    """A node without a report for this long is silent (reports come 4 times a second)."""
    grace_s: Seconds = number(5.0, 1.0, 600.0)
    """After a controller's start nobody is silent or stalled before this has passed."""
    silent_share: float = number(0.5, 0.1, 1.0)
    """From this share of the nodes silent at once, the controller is cut off, not the nodes dead.

    With 1 it takes all of them.
    """
    steps_without_node: int = number(2, 1, 100)
    """So many steps since a node fell silent show that its ranks live: one may have been under way."""
    ping_s: Seconds = number(1.0, 0.1, 5.0)
    """A silent node is pinged again after this, and each time after as much more."""
    ping_limit_s: Seconds = number(10.0, 5.0, 600.0)
    """But at least this often: the longer it is silent without a symptom, the less there is to see."""
    cut_s: Seconds = number(65.0, 1.0, 3600.0)
    """A silent node that breaks no job may take as long to come back as Ray gives it."""
    unheard_s: Seconds = number(120.0, 1.0, 86400.0)
    """A node that is silent for this long is paged even if no job suffers: Ray has given it up long since."""

    # What many nodes have at once

    common_s: Seconds = number(120.0, 1.0, 600.0)
    """Nodes that show the same finding, or fall silent, within this may have a common cause.

    They have one if so many at once would be rarer than once a year, were each to fail by itself.
    """
    common_nodes: int = number(3, 2, 100)
    """At least so many nodes make a common cause: two may be chance on any fleet."""
    failures_per_node_day: float = number(0.01, 0.0, 0.1)
    """How often a node fails by itself: 3 to 4 a day on 375 nodes of 8 GPUs. It says what is too many."""

    # A rank, or a whole job, that is slow

    straggler_factor: float = number(2.0, 1.1, 100.0)
    """A rank is slow from this multiple of its peers' median time outside collectives."""
    straggler_steps: int = number(20, 2, 1000)
    """Steps in a row that make a straggler; contention that passes is shorter."""
    straggler_looks: int = number(5, 2, 1000)
    """Looks in a row that show a straggler, too: of fast steps, most are never seen."""
    straggler_peers: int = number(3, 3, 1000)
    """Of fewer ranks nobody can say which is the odd one."""
    compare_s: Seconds = number(0.25, 0.05, 10.0)
    """Ranks are compared this often: as often as nodes report, for else the same beats come again."""
    slow_pace_factor: float = number(1.8, 1.1, 10.0)
    """Steps that all take this multiple of their usual time make a job slow.

    Half a link or half a clock makes it 2; batches of uneven length, which are no fault, mostly stay below.
    """
    slow_pace_s: Seconds = number(15.0, 3.0, 600.0)
    """It has to be slow throughout this; a checkpoint or an evaluation is one pause in it."""
    slow_laps: int = number(6, 2, 20)
    """And in each of so many parts of that time: one pause, however long, lengthens one of them."""
    usual_laps: int = number(240, 40, 100000)
    """The usual pace is the median of so many such parts: ten minutes."""
    usual_steps: int = number(20, 2, 10000)
    """Fewer steps, or less than twice `slow_pace_s` of them, make no usual pace."""
    warm_up_steps: int = number(5, 0, 10000)
    """The first steps of a generation count for no pace: they compile, fill caches and open files."""
    new_pace_s: Seconds = number(1800.0, 600.0, 604800.0)
    """A pace that is kept for this long after it was told is the usual one: people have let it be so."""
    held_share: float = number(0.4, 0.1, 1.0)
    """A rank is why a job is slow if it holds the others up at this share of looks more than it usually does.

    And no other rank at half as many. A rank that is stopped for 0.6 of every 0.75 s is seen so at 80%.
    """
    work_share: float = number(0.25, 0.01, 1.0)
    """Of a step that grew with its work at least this share is the ranks' own time: exchanges grow, too."""

    # What comes again

    several: int = number(2, 2, 10)
    """What comes so often is a pattern, where nothing else says how often: one is an accident."""
    crashes_per_hour: int = number(3, 1, 20)
    """Crashes or hangs of one node in an hour that evict it."""
    remembered_s: Seconds = number(86400.0, 60.0, 2592000.0)
    """A rank that is slow, or keeps failing, on several nodes within this has work that makes it so."""
    ending_signals: tuple[int, ...] = (1, 2, 10, 12, 15, 24)
    """Signals by which schedulers ask a process to end: such an end accuses no node.

    SIGHUP (submitit), SIGINT, SIGUSR1 (Slurm's and Lightning's warning), SIGUSR2, SIGTERM, SIGXCPU (time up).
    """
    finish_s: Seconds = number(600.0, 1.0, 86400.0)
    """When a rank has ended with 0, the others may take this long: a last checkpoint takes its time.

    Who hangs or crashes meanwhile is seen as ever; after it, who ended left too early.
    """
    room_s: Seconds = number(60.0, 1.0, 86400.0)
    """A job that waits for GPUs that nobody has is told to people after this: nodes start in less."""
    again_s: Seconds = number(3600.0, 60.0, 604800.0)
    """What is tried once more (CUDA out of memory) is given up when it comes again within this.

    A program that asks for too much does so within the hour; one that leaks for longer is better restarted.
    """
    app_xids_per_day: int = number(2, 1, 100)
    """Application Xids on one GPU within 24 h that make the GPU suspect (NVSentinel's rule for 31)."""

    # How long something has to stay as it is

    correlate_s: Seconds = number(10.0, 1.0, 600.0)
    """A stronger cause found this soon after a remedy belongs to the same incident."""
    settled_s: Seconds = number(10.0, 1.0, 3600.0)
    """A job has recovered when it has kept its pace with all its ranks for so long: most breaks come sooner.

    What comes and goes, such as a GCS, is one incident until it has stayed well for this long.
    """
    flap_pause_s: Seconds = number(4.5, 0.1, 600.0)
    """A job that breaks again with nobody to blame pauses before it forms: as long as `broken_s` at first.

    Each further time twice as long, for the link that it waits for is not well yet.
    """
    flap_pause_limit_s: Seconds = number(60.0, 0.1, 3600.0)
    """But no longer than this: a link that is well again is not left unused."""
    quiet_s: Seconds = number(300.0, 1.0, 86400.0)
    """After so long without such a break the pause is short again; no incident waits longer for its end."""
    stands_s: Seconds = number(30.0, 1.0, 3600.0)
    """What only asks for a drain (a slow GPU) or a page has to stand this long: a brief event is none."""

    collective_s: Seconds = number(45.0, 1.0, 600.0)
    """A collective probe ends so long after its members are ready.

    One node of four at 3 Mbit/s and 300 ms needs half of it.
    """

    # What a node measures alone, held against the other nodes of its kind

    fleet_nodes: int = number(4, 3, 32)
    """So many other nodes must have measured a figure before a node is held against them."""
    fleet_values: int = number(8, 3, 256)
    """And so many devices on them: the spread of fewer is mostly chance."""
    fleet_mads: float = number(6.0, 3.0, 100.0)
    """A figure is behind by so many median absolute deviations of the fleet's: 4 sigma, once in 30,000."""
    fleet_least: float = number(0.05, 0.01, 0.5)
    """And by at least this share: devices that are all but alike would make outliers of each other.

    5% is SuperBench's limit; one H200 differs from itself by 2% over time.
    """
    fleet_s: Seconds = number(7776000.0, 86400.0, 63072000.0)
    """Figures older than a quarter of a year count no more: machines and what runs on them have changed."""

    # Whether nodes that nobody needs are measured

    idle_probes: bool = False
    """Have a node without a rank pass `preflight` after it has joined, and again while it stays idle.

    Off: it loads devices, which is for their owners to allow, and standbys that wait there share them.
    """
    idle_probe_s: Seconds = number(86400.0, 600.0, 2592000.0)
    """An idle node is measured again after so long: once a day finds what came since, at 10 s of load."""
    idle_look_s: Seconds = number(60.0, 5.0, 3600.0)
    """Idle nodes are looked for this often, first so long after one has joined: a job has started by then."""
    idle_jitter: float = number(0.25, 0.0, 0.9)
    """Each wait is shorter by up to this share, another for each node: a fleet does not measure at once."""
    idle_probes_at_once: int = number(2, 1, 100)
    """So many nodes measure at a time: what they draw together is felt by nobody's breaker."""

    # What may be taken away

    evict_share: float = number(0.34, 0.0, 1.0)
    """At most max(1, this share of the nodes) may be cordoned by Sentinel at a time.

    So 0 means one; `observe_only` is what evicts none.
    """
    evictions_per_hour: int = number(6, 0, 1000)
    """More than this and the breaker opens: something else is wrong.

    With 0 it is always open: none is evicted.
    """
    evict_confidence: float = number(0.7, 0.5, 1.0)
    """A diagnosis below this never evicts."""

    # How a node comes back

    preflight: tuple[str, ...] = names(("gemm",))
    """Collective checks that a node has to pass alone before it comes back, beside all of its own.

    `gemm` loads each device and knows every number of the result; it needs torch. Empty for none.
    """
    proof_s: Seconds = number(150.0, 10.0, 3600.0)
    """Each part of a proof may take this long: `gemm` of 8 GPUs needs less, and all checks of a node do."""
    probation_s: Seconds = number(3600.0, 0.0, 604800.0)
    """A node that came back by proof is out again at the first failure within this; 0 for no probation.

    As long as `crashes_per_hour` looks back.
    """
    inspect_after: int = number(3, 2, 100)
    """A node evicted so often within `inspect_s` comes back by a person's word alone, whatever it proves.

    At `failures_per_node_day` chance alone does that to one node in 17,000 a week.
    """
    inspect_s: Seconds = number(604800.0, 3600.0, 7776000.0)
    """A week: people who repair in working hours have seen it by then."""
    repair: tuple[str, ...] = names((), Rung)
    """Rungs that Sentinel may try by itself on a node that is out and empty, where the runbook has them.

    None: that a machine is reset or rebooted is for its operators to allow.
    """
    reboot_s: Seconds = number(1200.0, 60.0, 7200.0)
    """A node that is rebooted has to be back within this: memory training of a server takes ten minutes."""

    # What is tried again, and how often

    resume_timeout_s: Seconds = number(30.0, 1.0, 3600.0)
    """A generation that neither steps nor loads for this long has failed; the next attempt follows."""
    resume_attempts: int = number(4, 1, 100)
    """Attempts in a row without a new step; after them people decide."""
    underway_tellings: int = number(3, 2, 100)
    """How often within `resume_timeout_s` it is noted that a generation goes on: one note may be late."""
    action_timeout_s: Seconds = number(20.0, 1.0, 3600.0)
    """An action without an outcome for this long is tried again or given up."""
    retry_s: Seconds = number(2.0, 0.1, 60.0)
    """What failed is tried again after this; a job that waits for workers looks whether they still come."""
    retry_limit_s: Seconds = number(60.0, 1.0, 3600.0)
    """Pauses before the scheduler is told of a cordon again double up to this: it may be down for long."""
    untold_s: Seconds = number(300.0, 1.0, 86400.0)
    """A cordon that the scheduler can't be told of for so long is people's business: a restart takes less."""
    place_s: Seconds = number(1.0, 0.0, 60.0)
    """A job waits this long for more nodes before it is placed: they join one by one."""
    start_s: Seconds = number(5.0, 0.1, 600.0)
    """One that starts, or stands still, is worth so long a wait; until one was warm, it takes as long."""
    starts_at_once: int = number(40_000, 1, 1_000_000)
    """Workers that one decision starts; the others follow at once. So many take less than half a second."""
    start_attempts: int = number(3, 1, 100)
    """When so many workers in a row did not start on a node, the next ones are started elsewhere."""
    trust_s: Seconds = number(60.0, 1.0, 86400.0)
    """A node on which `start_attempts` workers did not start is tried again this often: Ray may be back."""
    runs_again_s: Seconds = number(2.0, 0.1, 600.0)
    """A standby that stood still counts again once it has run for so long."""

    # Whether anything is done at all

    observe_only: bool = False
    """Start the job that is asked for; of all else say what would be done, and only page."""


def bounds(name: str) -> tuple[float, float]:
    """Give the least and the most that a number may be. Raises KeyError for what is none."""
    found = {each.name: each.metadata for each in fields(Policy)}[name]
    return found["least"], found["most"]


def contradictions(policy: Policy) -> Iterator[str]:
    """Say which numbers can't be meant together, though each by itself may."""
    for low, high, why in (
        ("silent_s", "broken_s", "a node that died is silent only then"),
        ("silent_s", "grace_s", "who reports in time would be silent"),
        ("stall_s", "slow_phase_s", "slow phases are to have more time, not less"),
        ("cut_s", "unheard_s", "nobody would be called cut off"),
        ("flap_pause_s", "flap_pause_limit_s", "pauses become longer"),
    ):
        one, other = getattr(policy, low), getattr(policy, high)
        if one >= other:
            yield f"{low}, {one}, must be below {high}, {other}: {why}"
