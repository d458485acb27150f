"""What lies where in the bytes of a heartbeat record."""

import struct

from sentinel import phases

PHASES = tuple(phases.PHASES)
GROUPS = 4
"""Collectives are counted in up to this many process groups."""
REASON_BYTES = 200
SUFFIX = ".beat"

MAGIC = b"SENTBEAT"
VERSION = 1
SIZE = 1024
IDENTITY = struct.Struct("8sqqq96s104s")  # magic, version, pid, started, job, worker
WORDS = 256
PHASE, BEAT, SNAPSHOT, COLLECTIVES = 0, 1, 2, 3
MENDED = COLLECTIVES + GROUPS
WORLD = MENDED + 1  # 0, which is also what a record of before says: who started the rank knows it
CHECKPOINT = WORLD + 1  # its step and 1, so that a record of before says that there is none
WORD_COUNT = CHECKPOINT + 1
STEP = struct.Struct("qqqddd")  # number, generation, step, loss, outside_s, arrival
STEP_AT = (384, 448)
PLACE = struct.Struct(f"qqqqq{REASON_BYTES}s")  # number, rank, generation, gpu, length of the reason, reason
PLACE_AT = (512, 768)
CRC = struct.Struct("I")
PHASE_BITS = 0xF
OPEN_BITS = 0xFFFF
# One 64-bit word a group: collectives entered, shifted by 16; below, how many are open.
ENTERED = OPEN_BITS + 1
PHASE_NUMBER = {name: number for number, name in enumerate(PHASES)}


class HeartbeatError(Exception):
    """No heartbeat record can be written or read there; the message says which and why, in one line."""


def is_name(text: str) -> bool:
    """Say whether a job or a worker can be called so: printable, and no way to another folder."""
    return text.isprintable() and bool(text) and "/" not in text and "\ufffd" not in text
