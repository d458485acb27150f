"""Writer and reader of the heartbeat record: what one rank is doing, in a small file in memory.

A record is one file of fixed size, `<memory>/beats/<worker>.beat`, that its rank writes and its agent may
read at any moment: neither waits for the other, and a stopped or killed writer leaves a readable record. Its
writer knows what it wrote, and writes anew what somebody has cut, changed or removed. Two devices make it
readable:

- what changes often is one aligned 8-byte word, written by one call: the beat, the phase with the
  time at which it began, a group's collectives entered and still open;
- what belongs together (a completed step; a place in the gang) is kept twice, each copy with a number
  and a checksum, written in turn: a writer stopped in mid-write spoils at most the older copy.

Any trainer can be watched, in whatever framework it is written:

    import sentinel.heartbeat

    beats = sentinel.heartbeat.start()     # job, rank and directory come from the environment
    for step in range(steps):
        ...                                # one training step
        beats.step_done(step, loss=loss)
        if step % 1000 == 0:
            with beats.phase("evaluate"):  # each pause by its name: `sentinel.phases` lists them
                ...

A rank that names no phase and enters no collective may be doing anything between two steps: it is taken for
hung only after `policy.slow_phase_s`. One that does is, where it names no pause, after `policy.stall_s`.
"""

from sentinel.heartbeat.environment import start
from sentinel.heartbeat.layout import GROUPS, PHASES, REASON_BYTES, SUFFIX, HeartbeatError
from sentinel.heartbeat.process import (
    contained,
    counts_as_the_kernel,
    find_process,
    process_name,
    process_state,
    writes,
)
from sentinel.heartbeat.reader import Record, is_stale, open_record, read, read_open
from sentinel.heartbeat.writer import HeartbeatWriter

__all__ = [
    "GROUPS",
    "PHASES",
    "REASON_BYTES",
    "SUFFIX",
    "HeartbeatError",
    "HeartbeatWriter",
    "Record",
    "contained",
    "counts_as_the_kernel",
    "find_process",
    "is_stale",
    "open_record",
    "process_name",
    "process_state",
    "read",
    "read_open",
    "start",
    "writes",
]
