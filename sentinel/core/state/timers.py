"""What is waited for: each deadline of the state is a timer's name and whom it is about."""

from collections.abc import Mapping
from enum import StrEnum


class Timer(StrEnum):
    """Why a deadline was set."""

    GATHER = "gather"
    """An incident waits for the probe of a node where a rank ended."""
    BROKEN = "broken"
    """An incident waits for a culprit: a gang broke, and nobody is to blame yet."""
    STACKS = "stacks"
    """An incident waits for the stacks of ranks that stand still."""
    MEMBERS = "members"
    """An incident waits for nodes that measure together."""
    PING = "ping"
    """A silent node is to be pinged again."""
    AGAIN = "again"
    """An agent or the GCS was restarted, and should be heard by then."""
    EVICT = "evict"
    """An eviction failed and is to be tried again."""
    OUTSIDE = "outside"
    """The scheduler could not be told of a cordon, and is to be told again."""
    STANDS = "stands"
    """A finding that can wait stands for long enough."""
    PROOF = "proof"
    """The part of a node's proof that is under way must have an answer by then."""
    IDLE = "idle"
    """Nodes that nobody needs are looked for, to be measured."""
    PREFLIGHT = "preflight"
    """The measurement of an idle node must have an answer by then."""
    REBOOT = "reboot"
    """A node that was rebooted must be back by then."""
    TRUST = "trust"
    """A node where workers did not start gets another try."""
    PLACE = "place"
    """A job that waits for nodes is to be placed."""
    ROOM = "room"
    """A job that waits for GPUs until then is people's business."""
    REFILL = "refill"
    """A job's standbys are to be counted."""
    SILENCE = "silence"
    """Pages about a node or a cause are held back until then."""
    FINISH = "finish"
    """Ranks have ended with 0, and the others should have by then."""
    MAINTAIN = "maintain"
    """A node is expected to be silent, or to have findings, until then."""
    RESUME = "resume"
    """A generation must have made a new step by then."""
    SETTLED = "settled"
    """A job that steps again, or what an incident without one had lost, must stay well until then."""
    PAUSE = "pause"
    """A job that broke once more, with nobody to blame, is formed again."""
    PACED = "paced"
    """A pace that is slower than before the break is the job's own from then on."""

    def of(self, *whom: str | int) -> str:
        """Name the deadline: `resume/moe/3`."""
        return "/".join((self._value_, *map(str, whom)))


EVIDENCE = (Timer.GATHER, Timer.BROKEN, Timer.STACKS, Timer.MEMBERS)
"""Until these an incident waits for more evidence."""
OF_A_JOB = (
    Timer.PLACE,
    Timer.ROOM,
    Timer.REFILL,
    Timer.FINISH,
    Timer.RESUME,
    Timer.SETTLED,
    Timer.PAUSE,
    Timer.PACED,
)
WAITS: Mapping[Timer, str] = {
    Timer.GATHER: "the probe of a node where a rank ended",
    Timer.BROKEN: "a culprit",
    Timer.STACKS: "stacks",
    Timer.MEMBERS: "nodes that measure together",
    Timer.PING: "another ping of a silent node",
    Timer.AGAIN: "what was restarted to be heard",
    Timer.EVICT: "another try to evict",
    Timer.OUTSIDE: "another try to tell the scheduler of its cordon",
    Timer.STANDS: "a finding to stand for long enough",
    Timer.PROOF: "the answer of a check of its proof",
    Timer.IDLE: "a look for nodes that nobody needs",
    Timer.PREFLIGHT: "the answer of its pre-flight",
    Timer.REBOOT: "its end of a reboot",
    Timer.TRUST: "another try of a node where workers did not start",
    Timer.PLACE: "nodes to place a job on",
    Timer.ROOM: "GPUs for a job, before people are told",
    Timer.REFILL: "workers",
    Timer.SILENCE: "the end of a silence of pages",
    Timer.MAINTAIN: "the end of its maintenance",
    Timer.FINISH: "the other ranks to end, too",
    Timer.RESUME: "a new step",
    Timer.SETTLED: "all to stay well",
    Timer.PAUSE: "a pause before the job forms again",
    Timer.PACED: "its pace to count as its usual one, if it stays slower than before",
}
"""What is waited for, in words."""
