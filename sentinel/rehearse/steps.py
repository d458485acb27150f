"""What can happen in a scenario: each step of a file is one of these, with its arguments in this order."""

from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

from msgspec import Struct

Fields: TypeAlias = dict[str, Any]


class _Step(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Arguments as a list in the file, or the only one by itself."""

    rest: ClassVar[int | None] = None
    """How many arguments come before those that are gathered in the last field."""


class Kernel(_Step, frozen=True):
    """Lines appended to a node's kernel log."""

    rest = 1
    node: str
    lines: tuple[str, ...]


class BeforeAgent(_Step, frozen=True):
    """Lines that were in the log, in this boot, before the node's agent started."""

    rest = 1
    node: str
    lines: tuple[str, ...]


class Storm(_Step, frozen=True):
    """So many lines of one Xid, 200 at a time."""

    node: str
    xid: int
    count: int


class Gpu(_Step, frozen=True):
    """Fields of a GPU's sample from now on, as `checks/gpu.py` measures it."""

    node: str
    index: int
    fields: Fields


class Host(_Step, frozen=True):
    """Fields of a host's sample from now on, as `checks/host.py` measures it."""

    node: str
    fields: Fields


class Found(_Step, frozen=True):
    """A finding that the node's agent tells; its job's ranks may be who found it."""

    node: str
    finding: Fields


class Crash(_Step, frozen=True):
    """A rank's process ends: `signal 9`, `exit 1`, `unknown`."""

    rank: int
    how: str


class StandbyDies(_Step, frozen=True):
    """A warm standby of this node ends."""

    node: str
    how: str = "signal 9"


class Raise(_Step, frozen=True):
    """A rank's training raises: `user`, `collective`, `nan`, `miscomputed`, `restore`."""

    rank: int
    text: str
    kind: str = "user"


class RaiseOnNode(_Step, frozen=True):
    """The same on whichever rank sits on this node."""

    node: str
    text: str
    kind: str = "user"


class CodeRaises(_Step, frozen=True):
    """A rank, or whoever sits on a node, raises at its next step, each time that it is trained.

    And in all steps after it; a `nan` is in one batch, and gone once that step is left out.
    """

    who: int | str
    text: str
    kind: str = "user"


class CodeIsFixed(_Step, frozen=True):
    """Nothing raises by itself any more."""

    yes: int = 1


class Beat(_Step, frozen=True):
    """Fields of a rank's heartbeat record until its process ends: `state: T` is one that is stopped.

    No field at all: the record is again as the process by itself has it.
    """

    rank: int
    fields: Fields


class StandbyBeat(_Step, frozen=True):
    """The same of a node's oldest standby."""

    node: str
    fields: Fields


class Slow(_Step, frozen=True):
    """A rank needs so many times its peers' time outside collectives; 1 is as fast as they are."""

    rank: int
    factor: float


class Stutters(_Step, frozen=True):
    """A rank is stopped for the first part of every so many seconds, until its process ends; 0 ends it.

    What it has done of a step when it is stopped is lost: one has to fit between two stops.
    """

    rank: int
    stopped_s: float
    every_s: float = 1.0


class Drags(_Step, frozen=True):
    """Collectives take longer, so that a step takes so many times what it took; 1 is as before."""

    factor: float


class SlowLink(_Step, frozen=True):
    """A node's link, or its way to one peer, is so many times slower, and steps are not; 1 is as before."""

    node: str
    factor: float
    peer: str = ""


class MoreWork(_Step, frozen=True):
    """Every rank has so many times the work in each step; 1 is as before."""

    factor: float


class Silence(_Step, frozen=True):
    """These nodes are cut off: no report comes, no port answers, their ranks reach no peer."""

    rest = 0
    nodes: tuple[str, ...]


class ControlCut(_Step, frozen=True):
    """No report of these nodes comes; their ports answer and training goes on."""

    rest = 0
    nodes: tuple[str, ...]


class Heard(_Step, frozen=True):
    """These nodes are reached again."""

    rest = 0
    nodes: tuple[str, ...]


class NodeDies(_Step, frozen=True):
    """Every process of these nodes is gone; their ports refuse."""

    rest = 0
    nodes: tuple[str, ...]


class AgentDies(_Step, frozen=True):
    """A node's agent is gone, the rest of the node is there."""

    node: str


class RayletDies(_Step, frozen=True):
    """The raylets of these nodes are gone; a second later, what Ray ran there is, too."""

    rest = 0
    nodes: tuple[str, ...]


class RayletStarts(_Step, frozen=True):
    """Ray is started on these nodes again."""

    rest = 0
    nodes: tuple[str, ...]


class Ports(_Step, frozen=True):
    """What a look at a node finds while it is silent: `ok`, `refused` or `timeout` at each port."""

    node: str
    agent: str
    raylet: str


class Starts(_Step, frozen=True):
    """Somebody starts the watched job again; none named: on nodes that are there and not cordoned."""

    rest = 0
    nodes: tuple[str, ...]


class Hold(_Step, frozen=True):
    """The job makes no step."""

    yes: int = 1


class Release(_Step, frozen=True):
    """It goes on."""

    yes: int = 1


class Advance(_Step, frozen=True):
    """One new step."""

    steps: int = 1


class Run(_Step, frozen=True):
    """Time passes, seconds; training goes on if it can."""

    seconds: float


class Command(_Step, frozen=True):
    """An operator's word, as of the command line; for `silence` also for how many seconds."""

    name: str
    target: str = ""
    for_s: float = 0.0


class Submit(_Step, frozen=True):
    """Another job is asked for."""

    job: str
    world: int
    standbys: int = 1


class Gcs(_Step, frozen=True):
    """Ray's GCS is `lost`, or `back`."""

    what: str


class Journal(_Step, frozen=True):
    """The journal's disk is `failed`, or `back`."""

    what: str


class ControllerDies(_Step, frozen=True):
    """Nobody hears, decides or does anything until the controller restarts."""

    yes: int = 1


class ControllerRestarts(_Step, frozen=True):
    """Another controller takes over the state, and does again what has no outcome yet."""

    yes: int = 1


class Fails(_Step, frozen=True):
    """From now on actions of these kinds end in failure; none named: no more."""

    rest = 0
    kinds: tuple[str, ...]


class NeverStarts(_Step, frozen=True):
    """No worker starts on these nodes any more."""

    rest = 0
    nodes: tuple[str, ...]


Step: TypeAlias = (
    Kernel
    | BeforeAgent
    | Storm
    | Gpu
    | Host
    | Found
    | Crash
    | StandbyDies
    | Raise
    | RaiseOnNode
    | CodeRaises
    | CodeIsFixed
    | Beat
    | StandbyBeat
    | Slow
    | Stutters
    | Drags
    | SlowLink
    | MoreWork
    | Silence
    | ControlCut
    | Heard
    | NodeDies
    | AgentDies
    | RayletDies
    | RayletStarts
    | Ports
    | Starts
    | Hold
    | Release
    | Advance
    | Run
    | Command
    | Submit
    | Gcs
    | Journal
    | ControllerDies
    | ControllerRestarts
    | Fails
    | NeverStarts
)

KEYS: Mapping[str, type[Step]] = {
    "kernel": Kernel,
    "before_agent": BeforeAgent,
    "storm": Storm,
    "gpu": Gpu,
    "host": Host,
    "finding": Found,
    "crash": Crash,
    "standby_dies": StandbyDies,
    "raise": Raise,
    "raise_on_n": RaiseOnNode,
    "code_raises": CodeRaises,
    "code_is_fixed": CodeIsFixed,
    "beat": Beat,
    "standby_beat": StandbyBeat,
    "slow": Slow,
    "stutters": Stutters,
    "drags": Drags,
    "slow_link": SlowLink,
    "more_work": MoreWork,
    "silence": Silence,
    "control_cut": ControlCut,
    "heard": Heard,
    "node_dies": NodeDies,
    "agent_dies": AgentDies,
    "raylet_dies": RayletDies,
    "raylet_starts": RayletStarts,
    "ports": Ports,
    "starts": Starts,
    "hold": Hold,
    "release": Release,
    "advance": Advance,
    "run": Run,
    "command": Command,
    "submit": Submit,
    "gcs": Gcs,
    "journal": Journal,
    "controller_dies": ControllerDies,
    "controller_restarts": ControllerRestarts,
    "fails": Fails,
    "never_starts": NeverStarts,
}
"""The key of a step in a file."""
