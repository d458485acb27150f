"""Who is behind: which rank a stalled gang waits for, read from the heartbeats."""

from collections.abc import Sequence
from dataclasses import dataclass

from sentinel.model.counted import counted
from sentinel.model.policy import Policy
from sentinel.model.report import NOT_RUNNING, RankBeat


@dataclass(frozen=True, slots=True)
class Laggards:
    """The ranks that the others wait for, and how it shows; no ranks: nobody stands out."""

    ranks: tuple[int, ...]
    why: str
    sure: float


def laggards(beats: Sequence[RankBeat], world: int, policy: Policy) -> Laggards:
    """Name the ranks that hold a stalled gang up.

    A missing rank outweighs a stopped one, a stopped one outweighs sequence numbers: a stopped
    rank's record may read exactly like a waiting one's. A record that is damaged, or at a step that no gang
    allows, is no evidence against its rank: only the process state is.
    """
    missing = tuple(sorted(set(range(world)) - {beat.rank for beat in beats}))
    if missing:
        return Laggards(missing, f"rank {_list(missing)} reports nothing", policy.sure_missing)
    stopped = [beat for beat in beats if beat.state in NOT_RUNNING]
    if stopped:
        states = ", ".join(f"rank {beat.rank} is in state {beat.state}" for beat in stopped)
        return Laggards(tuple(beat.rank for beat in stopped), states, policy.sure_stopped)
    believed = _believed(beats, policy)
    doubted = sorted({beat.rank for beat in beats} - {beat.rank for beat in believed})
    found = _by_record(believed, policy)
    why = f"{found.why}; the record of rank {_list(doubted)} is not believed" if doubted else found.why
    return Laggards(found.ranks, why, found.sure)


def _believed(beats: Sequence[RankBeat], policy: Policy) -> list[RankBeat]:
    """Leave out records that are damaged, or at a step at which no rank of this gang can be."""
    sound = [beat for beat in beats if not beat.damaged]
    newest = max((beat.generation for beat in sound), default=0)
    steps = sorted(beat.step for beat in sound if beat.generation == newest and beat.step >= 0)
    if not steps:
        return sound
    middle = steps[(len(steps) - 1) // 2], steps[len(steps) // 2]
    return [
        beat
        for beat in sound
        if beat.generation < newest
        or beat.step < 0
        or all(abs(beat.step - step) <= policy.steps_apart for step in middle)
    ]


def _by_record(beats: Sequence[RankBeat], policy: Policy) -> Laggards:
    """Read from records that are believed who is behind."""
    if not beats:
        return Laggards((), "no record can be believed", 0.0)
    frozen = [beat for beat in beats if min(beat.beat_age_s, beat.phase_age_s) > policy.beat_stale_s]
    if frozen and len(frozen) < len(beats):
        ages = ", ".join(f"rank {beat.rank}'s beat thread is {beat.beat_age_s:.1f} s old" for beat in frozen)
        return Laggards(tuple(beat.rank for beat in frozen), ages, policy.sure_stale)
    return _by_sequence(beats, policy)


def _by_sequence(beats: Sequence[RankBeat], policy: Policy) -> Laggards:
    waiting = max(beat.enqueued for beat in beats)
    behind = [beat for beat in beats if beat.enqueued < waiting]
    if not behind:
        return Laggards((), "all ranks entered the same collective", 0.0)
    lowest = min(beat.enqueued for beat in behind)
    ranks = tuple(beat.rank for beat in behind if beat.enqueued == lowest)
    if len(ranks) > max(1, len(beats) // 2):
        return Laggards((), f"most ranks stand at collective {lowest}", 0.0)
    inside = [beat.rank for beat in behind if beat.enqueued == lowest and _is_inside(beat, beats)]
    if inside:  # what the others sent has not reached it, so those beside it may only just have left
        why = f"rank {_list(inside)} is still in collective {lowest}, which others have left: it waits, too"
        return Laggards((), why, 0.0)
    return Laggards(
        ranks,
        f"rank {_list(ranks)} entered {counted(lowest, 'collective')}, others {waiting}",
        policy.sure_behind,
    )


def _is_inside(beat: RankBeat, beats: Sequence[RankBeat]) -> bool:
    """Say whether a rank is in a collective that others have completed: it has joined them, and waits."""
    return beat.completed < beat.enqueued <= max(other.completed for other in beats)


def _list(ranks: Sequence[int]) -> str:
    return ", ".join(map(str, ranks))
