"""The watched volumes: hung, failing, slow, or without room. At times a small file is tried."""

from collections.abc import Iterator, Sequence
from functools import cache

from sentinel.checks._volume_pool import Answer, Pool, Volume, is_store, trial_name
from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health

HUNG_S = 30.0
"""A volume that has not answered for so long stops whoever touches it. Shorter pauses are a server's failover
or a burst of saves; NFS says "not responding" after 60 s."""
SLOW_S = 5.0
"""A mebibyte takes milliseconds on any volume in order; this is three orders of magnitude more."""
SLOW_TRIES = 3
"""So many tries in a row, a minute apart, have to be slow: one that meets a checkpoint's save is."""
FULL = 0.97
"""From this share used a checkpoint may not fit any more; file systems slow down before 100%."""
ROOM_BYTES = 16 * 1024**3
"""With this much free a disk is not full, however large it is: 3% of a big volume are many checkpoints."""
ROOM_FILES = 100_000
"""With room for so many more files they are not used up."""
ONE_LOOK_S = 2.0
"""Somebody who looks only once waits so long for what comes of a try; an agent takes it at the next look."""
FAULTS = frozenset({"EIO", "ESTALE", "ENOTCONN", "EHOSTDOWN", "EUCLEAN", "EREMOTEIO", "ESHUTDOWN"})
"""What a volume says that is broken, or whose server forgot it."""
NO_ROOM = frozenset({"ENOSPC", "EDQUOT"})


def measure(machine: Machine) -> tuple[Volume, ...]:
    """Look at each watched volume through a child: one that hangs is told, and delays nobody."""
    paths = [each for each in machine.disks if not is_store(each)]
    return _pool(machine.node).look(paths, 0.0 if machine.kept else ONE_LOOK_S)


@cache
def _pool(node: str) -> Pool:
    return Pool(lambda path: "" if path == "/" else trial_name(node))  # nothing of a job lies in the root


def judge(volumes: Sequence[Volume]) -> Iterator[Finding]:
    """One finding for each thing that is wrong with a volume.

    What was known of one that does not answer stands until it does.
    """
    for volume in volumes:
        if volume.waits_s >= HUNG_S:
            said, evidence = f"{volume.path} does not answer", {"waits_s": round(volume.waits_s, 1)}
            yield _finding(volume, "volume-hung", Health.CRITICAL, said, evidence)
        elif volume.error or volume.answer is None:
            said = f"{volume.path} can't be asked: {volume.error or 'it has not answered yet'}"
            yield _finding(volume, "volume-unreadable", Health.UNKNOWN, said)
        if volume.answer is not None:
            yield from _judge(volume, volume.answer)


def _judge(volume: Volume, answer: Answer) -> Iterator[Finding]:
    path = volume.path
    newest = volume.tried[-1] if volume.tried else answer
    if answer.failed_with in FAULTS or newest.failed_with in FAULTS:
        why = answer.error or newest.failed
        yield _finding(volume, "volume-failed", Health.CRITICAL, f"{path} fails: {why}")
    elif answer.error:
        said = f"{path} can't be asked: {answer.error}"
        if answer.failed_with == "ENOENT":
            said = f"{path} is not there: no job has made it yet, or a mount is missing"
        yield _finding(volume, "disk-unreadable", Health.UNKNOWN, said)
    if answer.error:
        return
    yield from _judge_room(volume, answer, newest)
    slow = [_seconds(each) for each in volume.tried]
    if len(slow) >= SLOW_TRIES and min(slow) > SLOW_S:
        evidence = {"write_s": round(newest.write_s or 0.0, 2), "read_s": round(newest.read_s or 0.0, 2)}
        yield _finding(volume, "volume-slow", Health.WARNING, f"{path} has been slow for minutes", evidence)


def _judge_room(volume: Volume, answer: Answer, newest: Answer) -> Iterator[Finding]:
    used = 1 - answer.free / answer.total if answer.total else 0.0
    files_used = 1 - answer.files_free / answer.files if answer.files else 0.0
    if answer.read_only:
        return  # an image is always full, and nobody writes there
    is_full = used >= FULL and answer.free < ROOM_BYTES
    lacks_files = files_used >= FULL and answer.files_free < ROOM_FILES
    if is_full or lacks_files or newest.failed_with in NO_ROOM:
        evidence = {
            "free_bytes": answer.free,
            "total_bytes": answer.total,
            "used_share": round(used, 4),
            "files_free": answer.files_free,
        }
        what = "is full" if is_full else "has no room for another file" if lacks_files else newest.failed
        yield _finding(volume, "disk-full", Health.CRITICAL, f"{volume.path} {what}", evidence)


def _seconds(answer: Answer) -> float:
    """How long a try took; one that failed says nothing of that."""
    return (answer.write_s or 0.0) + (answer.read_s or 0.0)


def _finding(
    volume: Volume, code: str, health: Health, said: str, evidence: dict[str, int | float] | None = None
) -> Finding:
    return Finding("volumes", code, f"disk:{volume.path}", health, said, evidence or {})


def metrics(volumes: Sequence[Volume]) -> dict[Series, float]:
    """Size and room of each volume, how long the newest try took, and for how long it has not answered."""
    gauges: dict[Series, float] = {}
    for volume in volumes:
        path, answer = volume.path, volume.answer
        gauges[series("volume_waits_seconds", path=path)] = volume.waits_s
        if answer is not None and not answer.error:
            gauges[series("host_disk_free_bytes", path=path)] = float(answer.free)
            gauges[series("host_disk_size_bytes", path=path)] = float(answer.total)
        if volume.tried and (newest := volume.tried[-1]).write_s is not None:
            gauges[series("volume_write_seconds", path=path)] = newest.write_s or 0.0
            gauges[series("volume_read_seconds", path=path)] = newest.read_s or 0.0
    return gauges


CHECK = Check(
    "volumes",
    every=5.0,
    deadline=10.0,
    measure=measure,
    judge=judge,
    causes=("disk-full", "volume-hung", "volume-failed"),
    metrics=metrics,
    on_exit=True,
    of_this_host=True,
)
