"""What an incident's repair had to wait for: people are told for how long, and for whose sake."""

from collections.abc import Iterator

from sentinel.core import evidence, group
from sentinel.core.state import State
from sentinel.core.state.timers import Timer
from sentinel.model.action import Evict, RestartAgent, RestartGcs, Resume, StartWorker, StopWorker
from sentinel.model.fact import GcsLost, JobStalled, LinkLost, RankExited, RankRaised
from sentinel.model.ids import IncidentId, Instant, Seconds
from sentinel.model.incident import Incident, Waited

ACTIONS = "actions"
"""The guard that refuses while actions are frozen or stopped."""
RAY = (GcsLost, LinkLost)
"""Without which nothing can be done in Ray; who has lost one soon loses the other."""
GCS = "gcs"
"""What is restarted that is no node's agent."""
AWAY = "Sentinel was away"
OF_RAY = (Evict, RestartAgent, Resume, StartWorker, StopWorker)
"""Orders that can't be carried out while nobody can ask Ray."""
WAITS_LIMIT = 20
"""Waits that an incident keeps: the newest."""


def heard_by(action: RestartAgent | RestartGcs) -> str:
    """Name the deadline by which what is restarted should be heard."""
    return Timer.AGAIN.of(action.incident, action.node if isinstance(action, RestartAgent) else GCS)


def allow(state: State, only: IncidentId | None = None) -> None:
    """Take off the record what was refused while actions were held; called before they are let go.

    `only`: for an incident that wants something else by now, which may be refused in its turn.
    """
    for (name, wanted), guard in list(state.refused.items()):
        if guard == ACTIONS and only in (None, name):
            state.refused.drop((name, wanted))
            incident = state.incidents.get(name)
            since = _refused_at(incident, wanted) if incident else None
            if incident is not None and since is not None and (held := _held(state)):
                _waited(state, incident, Waited(held, since, state.now))


def _held(state: State) -> str:
    """Say what keeps actions from being done; empty where that is no wait, but the policy."""
    if state.stopped:
        return f"actions were stopped: {state.stopped}"
    return f"actions were frozen: {state.frozen}" if state.frozen else ""


def is_ray_away(state: State) -> bool:
    """Say whether nothing can be done in Ray at the moment."""
    known = ((group.with_fact(state, lost), lost) for lost in RAY)
    return any(incident and not evidence.is_back(incident, lost) for incident, lost in known)


def ray_is_back(state: State, trouble: Incident) -> None:
    """What was ordered of Ray has waited until now, and waits on if something else that Ray needs is away."""
    since, what = _away_since(trouble), f"Ray was away: {trouble.named}"
    for incident in state.open_incidents():
        if ordered := list(ray_orders(state, incident)):
            _waited(state, incident, Waited(what, max(since, min(ordered)), state.now))


def _away_since(trouble: Incident) -> Instant:
    """Say when the first of what Ray needs was lost, after all was there last."""
    away, since = set[type](), trouble.opened
    for fact in trouble.evidence:
        if isinstance(fact, GcsLost | LinkLost):
            since = since if away else fact.at - fact.silent_s
            away.add(type(fact))
        away -= {lost for lost in RAY if isinstance(fact, evidence.BACK[lost])}
    return since


def told_late(state: State, incident: Incident, fact: RankExited | RankRaised | JobStalled) -> None:
    """Somebody should have seen earlier what broke its job: it has waited for whoever was not there."""
    if fact.happened < state.woke:
        _waited(state, incident, Waited(AWAY, fact.happened, state.woke))
    elif not isinstance(fact, JobStalled) and fact.age_s:
        _waited(state, incident, Waited(f"nothing was heard of {fact.node}", fact.happened, fact.at))


def away(state: State, for_s: Seconds) -> None:
    """Nobody was there for so long until now: whatever is under repair has waited for that."""
    state.woke = state.now
    orders = {getattr(action, "incident", None) for action in state.unfinished.values()}
    for incident in state.open_incidents():
        if incident.id in orders or state.awaits_evidence(incident.id):
            _waited(state, incident, Waited(AWAY, max(incident.opened, state.now - for_s), state.now))


def ray_orders(state: State, incident: Incident) -> Iterator[Instant]:
    """Say when each order of Ray was given that has no outcome yet."""
    for at, action in incident.deeds:
        if at is not None and isinstance(action, OF_RAY) and action.id in state.unfinished:
            yield at


def _refused_at(incident: Incident, wanted: str) -> Instant | None:
    """Say when this was refused last."""
    refusals = (at for at, action in incident.deeds if getattr(action, "wanted", None) == wanted)
    return next(reversed([*refusals]), None)


def _waited(state: State, incident: Incident, wait: Waited) -> None:
    """Add a wait; one that goes on is told once, and so are two at the same time."""
    *earlier, last = incident.waits or (wait,)
    if wait.since < last.since or wait.since > last.until:
        earlier, last = [*earlier, last], wait
    waits = (*earlier, Waited(last.what, last.since, wait.until))
    state.change(incident, waits=waits[-WAITS_LIMIT:])
