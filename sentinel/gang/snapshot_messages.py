"""What is asked of a holder of snapshots and what it answers: every field has a type and a range."""

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from sentinel.gang.snapshot_slots import MOST_BYTES, MOST_RANKS, MOST_STEPS, Kind

Count = Annotated[int, Meta(ge=0, le=MOST_STEPS)]
Before = Annotated[int, Meta(ge=-1, le=MOST_STEPS)]
"""A step, or -1 for none."""
Rank = Annotated[int, Meta(ge=0, lt=MOST_RANKS)]
World = Annotated[int, Meta(ge=1, le=MOST_RANKS)]
Size = Annotated[int, Meta(ge=0, le=MOST_BYTES)]
Crc = Annotated[int, Meta(ge=0, lt=1 << 32)]


class Push(msgspec.Struct, frozen=True, tag=True):
    """Take a copy. The payload follows once a `Ready` says that there is room for it."""

    rank: Rank
    world: World
    generation: Count
    word: Annotated[bytes, Meta(max_length=64)]
    """The controller's, that this generation has been ordered."""
    step: Count
    keep: Before
    """The newest globally complete step."""
    length: Size
    crc: Crc

    def __post_init__(self) -> None:
        if self.rank >= self.world:
            raise ValueError(f"rank {self.rank} of a world of {self.world}")


class List(msgspec.Struct, frozen=True, tag=True):
    """Tell by the headers which copies there are."""


class Fetch(msgspec.Struct, frozen=True, tag=True):
    """Give a copy; its payload follows the answer."""

    kind: Kind
    rank: Rank
    step: Count
    generation: Count | None = None
    """None takes the newest."""


class Held(msgspec.Struct, frozen=True):
    """One copy that a node holds."""

    kind: Kind
    rank: Rank
    world: World
    generation: Count
    step: Count


class Listing(msgspec.Struct, frozen=True, tag=True):
    """All copies of the job."""

    slots: tuple[Held, ...]


class Ready(msgspec.Struct, frozen=True, tag=True):
    """There is room: send the payload."""


class Taken(msgspec.Struct, frozen=True, tag=True):
    """The copy is complete."""


class Sending(msgspec.Struct, frozen=True, tag=True):
    """The payload follows."""

    length: Size
    crc: Crc


class Refused(msgspec.Struct, frozen=True, tag=True):
    """No, and why; the connection goes on."""

    reason: Annotated[str, Meta(max_length=1000)]
    full: bool = False
    """The memory takes none."""


Request: TypeAlias = Push | List | Fetch
Answer: TypeAlias = Listing | Ready | Taken | Sending | Refused
