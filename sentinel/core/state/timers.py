"""What is waited for: each deadline of the state is a timer's name and whom it is about."""

from enum import StrEnum


class Timer(StrEnum):
    """What is waited for until a deadline, by its name and in words."""

    waits: str
    """After `waits for`."""

    def __new__(cls, name: str, waits: str = "") -> "Timer":
        """Name one, and say what it is."""
        timer = str.__new__(cls, name)
        timer._value_, timer.waits = name, waits
        return timer

    GATHER = "gather", "the probe of a node where a rank ended"
    BROKEN = "broken", "a culprit"
    """An incident waits for a culprit: a gang broke, and nobody is to blame yet."""
    STACKS = "stacks", "stacks"
    MEMBERS = "members", "nodes that measure together"
    PING = "ping", "another ping of a silent node"
    AGAIN = "again", "what was restarted to be heard"
    EVICT = "evict", "another try to evict"
    OUTSIDE = "outside", "another try to tell the scheduler of its cordon"
    STANDS = "stands", "a finding to stand for long enough"
    PROOF = "proof", "the answer of a check of its proof"
    """The part of a node's proof that is under way must have an answer by then."""
    IDLE = "idle", "a look for nodes that nobody needs"
    PREFLIGHT = "preflight", "the answer of its pre-flight"
    REBOOT = "reboot", "its end of a reboot"
    """A node that was rebooted must be back by then."""
    TRUST = "trust", "another try of a node where workers did not start"
    PLACE = "place", "nodes to place a job on"
    ROOM = "room", "GPUs for a job, before people are told"
    """A job that waits for GPUs until then is people's business."""
    REFILL = "refill", "workers"
    """A job's standbys are to be counted."""
    SILENCE = "silence", "the end of a silence of pages"
    """Pages about a node or a cause are held back until then."""
    FINISH = "finish", "the other ranks to end, too"
    """Ranks have ended with 0, and the others should have by then."""
    MAINTAIN = "maintain", "the end of its maintenance"
    """A node is expected to be silent, or to have findings, until then."""
    RESUME = "resume", "a new step"
    SETTLED = "settled", "all to stay well"
    """A job that steps again, or what an incident without one had lost, must stay well until then."""
    PAUSE = "pause", "a pause before the job forms again"
    """A job that broke once more, with nobody to blame, is formed again."""
    PACED = "paced", "its pace to count as its usual one, if it stays slower than before"
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
"""Whatever a job waits for; none of it outlives the job."""
