"""The numbers that decide, each with its reason; their hash is journalled with every decision."""

from dataclasses import dataclass

from sentinel.model.ids import Seconds


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of detection and guards of action."""

    gather_s: Seconds = 0.3
    """How long a crash waits for its node's immediate probe, so that speed does not outrun the cause."""
    broken_s: Seconds = 4.5
    """How long a gang that broke without a culprit waits for one (a silent node shows after `silent_s`)."""
    stall_s: Seconds = 2.2
    """A job without a new step for this long is stalled, if `stall_factor` median steps are shorter."""
    stall_factor: float = 2.6
    """Median steps without progress that make a stall; under 3, so that a hang shows within 3 of them."""
    slow_phase_s: Seconds = 600.0
    """Set-up, first step, load and save may take this long: compilation and evaluation are no hang."""
    silent_s: Seconds = 2.5
    """A node without a report for this long is silent (reports come 4 times a second)."""
    grace_s: Seconds = 5.0
    """After a controller's start nobody is silent or stalled before this has passed."""
    mass_silence: float = 0.5
    """From this share of the nodes silent at once, the controller is cut off, not the nodes dead."""
    common_s: Seconds = 120.0
    """Nodes on which a check finds the same within this have a common cause, if they are too many for chance.

    At least three, and so many that each failing by itself would make it rarer than yearly.
    """
    failures_per_node_day: float = 0.01
    """How often a node fails by itself: 3 to 4 a day on 375 nodes of 8 GPUs. It says what is too many."""
    straggler_factor: float = 2.0
    """A rank is slow from this multiple of its peers' median time outside collectives."""
    straggler_steps: int = 20
    """Steps in a row that make a straggler; contention that passes is shorter."""
    slow_pace_factor: float = 1.8
    """Steps that all take this multiple of their usual time make a job slow.

    Half a link or half a clock makes it 2; batches of uneven length, which are no fault, mostly stay below.
    """
    slow_pace_s: Seconds = 15.0
    """It has to be slow throughout this; a checkpoint or an evaluation is one pause in it."""
    new_pace_s: Seconds = 1800.0
    """A pace that is kept for this long after it was told is the usual one: people have let it be so."""
    held_share: float = 0.4
    """A rank is why a job is slow if it holds the others up at this share of looks more than it usually does.

    And no other rank at half as many. A rank that is stopped for 0.6 of every 0.75 s is seen so at 80%.
    """
    crashes_per_hour: int = 3
    """Crashes or hangs of one node in an hour that evict it."""
    ending_signals: tuple[int, ...] = (1, 2, 10, 12, 15, 24)
    """Signals by which schedulers ask a process to end: such an end accuses no node.

    SIGHUP (submitit), SIGINT, SIGUSR1 (Slurm's and Lightning's warning), SIGUSR2, SIGTERM, SIGXCPU (time up).
    """
    finish_s: Seconds = 600.0
    """When a rank has ended with 0, the others may take this long: a last checkpoint takes its time.

    Who hangs or crashes meanwhile is seen as ever; after it, who ended left too early.
    """
    room_s: Seconds = 60.0
    """A job that waits for GPUs that nobody has is told to people after this: nodes start in less."""
    again_s: Seconds = 3600.0
    """What is tried once more (CUDA out of memory) is given up when it comes again within this.

    A program that asks for too much does so within the hour; one that leaks for longer is better restarted.
    """
    app_xids_per_day: int = 2
    """Application Xids on one GPU within 24 h that make the GPU suspect (NVSentinel's rule for 31)."""
    correlate_s: Seconds = 10.0
    """A stronger cause found this soon after a remedy belongs to the same incident."""
    settled_s: Seconds = 10.0
    """A job has recovered when it has kept its pace with all its ranks for so long: most breaks come sooner.

    What comes and goes, such as a GCS, is one incident until it has stayed well for this long.
    """
    flap_pause_s: Seconds = 4.5
    """A job that breaks again with nobody to blame pauses before it forms: as long as `broken_s` at first.

    Each further time twice as long, for the link that it waits for is not well yet.
    """
    flap_pause_limit_s: Seconds = 60.0
    """But no longer than this: a link that is well again is not left unused."""
    quiet_s: Seconds = 300.0
    """After so long without such a break the pause is short again; no incident waits longer for its end."""
    stands_s: Seconds = 30.0
    """What only asks for a drain (a slow GPU) or a page has to stand this long: a brief event is none."""
    evict_share: float = 0.34
    """At most max(1, this share of the nodes) may be cordoned by Sentinel at a time."""
    evictions_per_hour: int = 6
    """More than this and the breaker opens: something else is wrong."""
    evict_confidence: float = 0.7
    """A diagnosis below this never evicts."""
    resume_timeout_s: Seconds = 30.0
    """A generation that neither steps nor loads for this long has failed; the next attempt follows."""
    resume_attempts: int = 4
    """Attempts in a row without a new step; after them people decide."""
    action_timeout_s: Seconds = 20.0
    """An action without an outcome for this long is tried again or given up."""
    observe_only: bool = False
    """Start the job that is asked for; of all else say what would be done, and only page."""
