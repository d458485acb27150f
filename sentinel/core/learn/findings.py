"""What a check's finding means: a cause at once, evidence for one, or the end of one."""

import re
from hashlib import sha256

from msgspec.structs import replace

from sentinel.core import common, evidence, group, strikes
from sentinel.core.learn.nodes import look_again
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Node
from sentinel.core.state.timers import Timer
from sentinel.model.fact import Commanded, FindingReported, NodeSilent
from sentinel.model.finding import TRAINER, Finding, Health
from sentinel.model.ids import Cause, Instant, NodeId
from sentinel.model.incident import Due, Incident, Shared
from sentinel.model.runbook import Remedy, Runbook, Scope

RECENT_FINDINGS = 10
RECENT_ALIKE = 3
"""Of these alike: a storm of one Xid hides no other."""
EVENTS_KEPT = 256
"""More than a report holds: so many may be journalled and reported again, for want of an acknowledgement."""


def finding(state: State, fact: FindingReported, rules: Rules) -> None:
    """Take in a finding. One that a node says again, after a lost acknowledgement, is no news."""
    node = state.nodes.get(fact.node) or state.add(Node(fact.node))
    found = fact.finding
    if found.health in (Health.OK, Health.SKIPPED):
        _cleared(state, node, fact, rules)
    elif found.event and node.vouched and fact.happened < node.vouched:
        pass  # an agent that came later read it in the log
    elif not _known(node, found):
        _learned(state, node, fact, rules)
    elif found.event:
        _counted(state, node, fact, rules)


def _learned(state: State, node: Node, fact: FindingReported, rules: Rules) -> None:
    found = fact.finding
    if found.event:
        node = _remember(state, node, found)
    elif strikes.is_contained(node, found):
        _keep(state, node, replace(found, health=Health.WARNING))
        return  # each of these errors ended one process: its Xid 94 is the news
    else:
        node = _keep(state, node, found)
    if node.maintained is None or found.check == TRAINER:
        counts(state, node, fact, rules)


def counts(state: State, node: Node, fact: FindingReported, rules: Rules) -> None:
    """Take in what a finding says of its node."""
    fact = strikes.count(state, node, fact, rules)
    found = fact.finding
    node = state.change(node, recent=_recent(node, fact))
    if _can_wait(found, rules):
        state.wait_for(_deadline(node, found), rules.policy.stands_s)
    elif found.health is not Health.UNKNOWN:
        _weigh(state, node, fact, rules)


def _outlasted(node: Node, fact: FindingReported, state: State) -> bool:
    """Say whether an event went on although its node's job did, too: that is another fault of its GPU."""
    job, component = group.job_hit(state, fact), fact.finding.component
    since = [at for at, where in node.app_xids if where == component]
    return job is not None and bool(since) and max(since) < job.advanced <= fact.happened


def _keep(state: State, node: Node, found: Finding) -> Node:
    return state.change(node, findings={**node.findings, found.name: found})


def _remember(state: State, node: Node, found: Finding) -> Node:
    """Keep an event's mark and count, and those of the last ones before it."""
    mark = _mark(found)
    events = (*node.events[1 - EVENTS_KEPT :], mark)
    counts = {each: count for each, count in node.counts.items() if each in events}
    if found.count > 1:
        counts[mark] = found.count
    return state.change(node, events=events, counts=counts)


def _counted(state: State, node: Node, fact: FindingReported, rules: Rules) -> None:
    """Fold an event that goes on: the newest telling takes the place of what is known of it.

    It is evidence once for each incident, and opens none: what began with it was concluded when it began.
    """
    found, mark = fact.finding, _mark(fact.finding)
    before = node.counts.get(mark, 1)
    if found.count <= before or node.maintained is not None:
        return
    strikes.count_contained(state, node, found, found.count - before)
    alike = [each for each in node.recent if each.finding.burst == found.burst]
    recent = tuple(fact if each in alike else each for each in node.recent) if alike else _recent(node, fact)
    node = state.change(node, counts={**node.counts, mark: found.count}, recent=recent)
    if _outlasted(node, fact, state):
        strikes.count_app_xid(state, node, fact, rules)
    renewed = [evidence.renew(state, incident, fact) for incident in state.open_incidents()]
    if any(renewed):
        return
    is_asked = group.find(state, group.topic_hit(state, fact)) is not None
    if is_asked and node.cordon is None and found.health is not Health.UNKNOWN:
        _weigh(state, node, fact, rules)


def _recent(node: Node, fact: FindingReported) -> tuple[FindingReported, ...]:
    alike = [each for each in node.recent if each.finding.key == fact.finding.key]
    old = alike[: max(0, len(alike) + 1 - RECENT_ALIKE)]
    return (*[each for each in node.recent if each not in old][1 - RECENT_FINDINGS :], fact)


def _can_wait(found: Finding, rules: Rules) -> bool:
    """Say whether a state has to stand first, as all runbooks that know it say; so has a mere warning."""
    books = rules.by_code.get(found.code, ())
    if found.event or found.check == TRAINER or not (books and all(book.stands for book in books)):
        return False
    urgent = all(book.remedy is Remedy.NONE for book in books)
    return found.health is (Health.WARNING if urgent else Health.CRITICAL)


def _deadline(node: Node, found: Finding) -> str:
    return Timer.STANDS.of(node.id, found.name)


def stands(state: State, name: NodeId, key: str, rules: Rules) -> None:
    """A state that could wait has not passed by itself, or an event was no echo of a death until now."""
    node = state.nodes.get(name)
    if node is None or node.maintained is not None:
        return
    if (found := node.findings.get(key)) is not None:
        _weigh(state, node, FindingReported(state.now, name, found), rules, waited=True)
    events = (fact for fact in reversed(node.recent) if fact.finding.event)
    event = next((fact for fact in events if fact.finding.name == key), None)
    if event is not None:
        _weigh(state, node, event, rules, waited=True)


def _known(node: Node, found: Finding) -> bool:
    if found.event:
        return _mark(found) in node.events
    return node.findings.get(found.name) == found


def _mark(found: Finding) -> str:
    """Tell one event from another: by its burst, or by the kernel line, which has its time in it."""
    if found.burst:
        return found.burst
    what = found.evidence.get("line") or (found.component, found.summary, sorted(found.evidence.items()))
    return sha256(repr((found.check, found.code, what)).encode(errors="replace")).hexdigest()[:16]


def _cleared(state: State, node: Node, fact: FindingReported, rules: Rules) -> None:
    """A state is healthy again."""
    found = fact.finding
    key = found.name
    state.deadlines.drop(_deadline(node, found))
    if found.code == strikes.COUNTER:  # the GPU was reset, and counts anew
        left = {each: count for each, count in node.contained.items() if each != found.component}
        node = state.change(node, contained=left)
    # The rank that speaks for a job may sit on another node by now.
    holders = list(state.nodes.values()) if found.check == TRAINER else [node]
    had = [holder for holder in holders if key in holder.findings]
    for holder in had:
        state.change(holder, findings={each: f for each, f in holder.findings.items() if each != key})
    if had:
        withdraw(state, fact, node.id, rules, everywhere=found.check == TRAINER)
        look_again(state, *state.jobs)


def withdraw(
    state: State,
    fact: FindingReported | Commanded,
    node: NodeId,
    rules: Rules,
    *,
    everywhere: bool = False,
) -> None:
    """Findings hold no more: whoever has them in evidence is told, unless it is just being acted on.

    A `Commanded` takes back all of the node's, for a human vouches for it; a finding only what it clears.
    """
    key = fact.finding.key if isinstance(fact, FindingReported) else None
    for incident in state.open_incidents():
        findings = (f for f in incident.evidence if isinstance(f, FindingReported))
        theirs = (f for f in findings if f.node == node or everywhere)
        under_way = group.took_nodes(state, incident) or group.forms(state, incident)
        spoken = under_way and group.ends_by_step(incident, rules)
        if not spoken and any(key in (None, f.finding.key) for f in theirs):
            evidence.add(state, incident, fact)


def _weigh(state: State, node: Node, fact: FindingReported, rules: Rules, *, waited: bool = False) -> None:
    """A critical finding with a runbook acts at once; a warning is evidence for whoever asks."""
    books = rules.by_code.get(fact.finding.code, ())
    critical = fact.finding.health is Health.CRITICAL
    since = fact.at - rules.policy.correlate_s
    if _is_echo(state, node, books, since):
        if not fact.finding.event:
            state.wait_for(_deadline(node, fact.finding), rules.policy.correlate_s)
        return
    if critical and not waited and _may_be_echo(state, node, books, since):
        state.wait_for(_deadline(node, fact.finding), rules.policy.broken_s)
        return
    if books and all(book.scope is not Scope.JOB for book in books):
        group.ask_for(state, group.join_cause(state, books[0], fact), Due.ANY)
        return
    incident = _asking(state, node, fact, rules)
    if incident is None and not (books and critical and node.cordon is None):
        return
    if incident is None:
        incident = group.join(state, group.topic_hit(state, fact), fact, group.job_hit(state, fact))
    elif not books and not _in_a_log(fact.finding, rules):
        evidence.stand_by(state, incident, fact)
        return
    elif critical or evidence.explains(state, fact, incident.evidence, rules):
        incident = evidence.add(state, incident, fact)
    else:
        return
    if critical:
        _join_alike(state, incident, fact, rules)
    if critical or incident.diagnosis is not None:
        group.ask_for(state, incident, Due.CERTAIN)


def _is_echo(state: State, node: Node, books: tuple[Runbook, ...], since: Instant) -> bool:
    """Say whether a node only complains of a neighbour that has just died; a state may stand longer."""
    for book in books:
        for incident in state.incidents.values() if book.echoes else ():
            found = incident.diagnosis
            if found is None or found.cause not in book.echoes or node.id in found.nodes:
                continue
            fell = (f for f in incident.evidence if isinstance(f, NodeSilent) and f.node in found.nodes)
            dead = (state.nodes[f.node] for f in fell if f.at >= since)
            if any(_in_earshot(node, each, book.echoes_within) is not False for each in dead):
                return True
    return False


def _may_be_echo(state: State, node: Node, books: tuple[Runbook, ...], since: Instant) -> bool:
    """Say whether a known neighbour has just fallen silent, and nobody knows yet whether it died."""
    kinds = [book.echoes_within for book in books if book.echoes]
    silent = (each for each in state.unheard() if each.id != node.id) if kinds else ()
    fresh = (each for each in silent if each.fell is not None and each.fell.at >= since)
    return any(_in_earshot(node, each, kind) for each in fresh for kind in kinds)


def _in_earshot(node: Node, other: Node, kind: str) -> bool | None:
    """Say whether two nodes share a domain of this kind; None while nobody knows."""
    mine, its = node.labels.get(kind), other.labels.get(kind)
    return mine == its if mine and its else None


def _join_alike(state: State, incident: Incident, fact: FindingReported, rules: Rules) -> None:
    """What many have at once is one incident: it has what was found on the first of them, too."""
    for book in rules.by_code.get(fact.finding.code, ()):
        if (what := _shares(state, fact, book.cause, rules)) is None:
            continue
        known = {f.node for f in incident.evidence if isinstance(f, FindingReported)}
        others = (state.nodes[name] for name in what.nodes if name not in known)
        for found in (common.found(node, book.cause, rules) for node in others):
            incident = evidence.add(state, incident, found) if found else incident
        for other in [each for each in state.incidents.values() if _is_of(each, what, book.cause)]:
            if other.id != incident.id:
                state.change(other, part_of=incident.id)


def _asking(state: State, node: Node, fact: FindingReported, rules: Rules) -> Incident | None:
    """Return the incident that this finding is evidence for: open, that cordoned the node, or reopened."""
    if node.cordon is not None:
        return state.open_incident(node.cordon.by)
    known = group.find(state, group.topic_hit(state, fact)) or group.with_finding(state, fact)
    if known is None and fact.finding.health is Health.CRITICAL:
        return _shared(state, fact, rules) or group.reopen(state, rules, fact)
    return known


def _shared(state: State, fact: FindingReported, rules: Rules) -> Incident | None:
    """Return the open incident of a cause that this node has with others."""
    for book in rules.by_code.get(fact.finding.code, ()):
        what = _shares(state, fact, book.cause, rules)
        for incident in state.open_incidents() if what is not None else ():
            if what is not None and _is_of(incident, what, book.cause):
                return incident
    return None


def _shares(state: State, fact: FindingReported, cause: Cause, rules: Rules) -> Shared | None:
    """Say what the finding's node shares with others that have the same cause at once."""
    what = common.shared(state, [fact.node], common.lately(state, cause, rules), rules.policy)
    return what if what is not None and fact.node in what.nodes else None


def _is_of(incident: Incident, what: Shared, cause: Cause) -> bool:
    """Say whether an incident is about nodes that have a cause at once, and is no part of another yet."""
    known = incident.diagnosis
    alike = known is not None and known.cause == cause and incident.part_of is None
    return alike and known is not None and not {*what.nodes}.isdisjoint(known.nodes)


def _in_a_log(found: Finding, rules: Rules) -> bool:
    text = "\n".join([found.summary, *map(str, found.evidence.values())])
    logs = (looks.log for book in rules.runbooks.values() for looks in book.matches if looks.log)
    return any(re.search(log, text) for log in logs)
