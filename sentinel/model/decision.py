"""What was decided and nobody performs: diagnoses, cordons, what a job wants, how an incident ends."""

from collections.abc import Iterable
from typing import TypeAlias

from sentinel.model.action import Action, Deed
from sentinel.model.ids import IncidentId, JobId, NodeId, Seconds, WorkerId
from sentinel.model.incident import Diagnosis
from sentinel.model.noun import Noun


class Opened(Noun, frozen=True):
    """A node is silent still, though the incident that it was part of is over: it has its own."""

    incident: IncidentId
    node: NodeId


class Diagnosed(Noun, frozen=True):
    """An incident has this cause, as far as the evidence says until now."""

    incident: IncidentId
    diagnosis: Diagnosis
    replace: tuple[WorkerId, ...] = ()
    """Workers of the suspects."""
    aside: tuple[NodeId, ...] = ()
    """Silent nodes whose agents alone are to blame: that is an incident of their own from here on."""


class Cordoned(Noun, frozen=True):
    """Nothing is placed on a node any more, and it is to be emptied."""

    incident: IncidentId
    node: NodeId
    reason: str
    gently: bool = False
    """At a step boundary, and not at once."""


class Froze(Noun, frozen=True):
    """No action is taken from here on, or, without a reason, actions are allowed again."""

    incident: IncidentId
    reason: str


class Wanted(Noun, frozen=True):
    """A job wants its next generation."""

    incident: IncidentId
    job: JobId
    replace: tuple[WorkerId, ...] = ()
    """Workers whose place another one gets."""
    elsewhere: bool = False
    """On another node."""
    replay: bool = False
    """The failed step is run once more, to compare."""
    gently: bool = False
    """The running generation goes on until the next can take over at a step boundary."""
    skip: tuple[int, ...] = ()
    """Steps whose batch is left out from here on."""


class Awaited(Noun, frozen=True):
    """A job's next generation waits for so many workers."""

    incident: IncidentId
    job: JobId
    workers: int
    more: bool = False
    """Others are still to be started: it is planned again at once."""


class Paused(Noun, frozen=True):
    """A job's next generation waits for so long: it broke once more, and nobody is to blame."""

    incident: IncidentId
    job: JobId
    seconds: Seconds


class Kept(Noun, frozen=True):
    """A job goes on with the generation that it has."""

    incident: IncidentId
    job: JobId


class GivenBack(Noun, frozen=True):
    """Evictions of a common cause count no longer against the breaker."""

    incident: IncidentId
    nodes: tuple[NodeId, ...]


class Resolved(Noun, frozen=True):
    """An incident is over."""

    incident: IncidentId


class Deferred(Noun, frozen=True):
    """The fact came together with the next one: what is decided stands with that."""


DEFERRED = (Deferred(),)
"""All that stands with such a fact."""


Decision: TypeAlias = (
    Action
    | Opened
    | Diagnosed
    | Cordoned
    | Froze
    | Wanted
    | Awaited
    | Paused
    | Kept
    | GivenBack
    | Resolved
    | Deferred
)
"""All that is recorded with a fact: what is to be done, what is not, and what is believed from here on."""


def deeds(decisions: Iterable[Decision]) -> tuple[Action, ...]:
    """Give what is to be done, and what is refused."""
    return tuple([each for each in decisions if isinstance(each, Deed)])
