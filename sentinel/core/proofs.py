"""What a node that is out has to show before it comes back, and what it has shown, in words."""

from collections.abc import Iterator, Sequence
from itertools import islice

from sentinel.core.baselines import beside
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import SCHEDULER, Eviction, Node, Proof, ProofStage
from sentinel.model.action import Resume, StopWorker
from sentinel.model.collective import Standing
from sentinel.model.counted import counted
from sentinel.model.fact import FindingReported, MembersProbed, NodeProbed
from sentinel.model.finding import NO_OPINION, TRAINER, Finding, Health, gpu_of
from sentinel.model.ids import DAY_S, Cause, NodeId
from sentinel.model.incident import Incident
from sentinel.model.policy import Policy, Rung

OWN = ""
"""The part of a proof that is all checks of the node's agent."""
SENTINEL = "Sentinel"
"""Who asks for a proof after a repair of its own."""
LEAVING = (Resume, StopWorker)
"""Orders by which processes leave a node; while one is under way they may be there still."""
BESIDE_OTHERS = (Standing.SHARED, Standing.UNDER_ANOTHER)
"""Figures that are far below the fleet's and accuse nobody: that is said with what was measured."""
PROBATION = ", on probation after a repair"
"""What is said where a node's first failure takes it out."""
WITHOUT = "`sentinel undrain {node} --no-proof --reason …` takes it back on your word"


def why_out(
    incident: Incident, node: NodeId, rules: Rules
) -> tuple[tuple[tuple[str, str, str], ...], tuple[str, ...]]:
    """Give what checks had found on a node that an incident takes out, and which collective checks had.

    Those are the checks that the node has failed: (check, code, component), and names.
    """
    book = rules.book_of(incident)
    told = [fact for fact in incident.evidence if isinstance(fact, FindingReported) and fact.node == node]
    mine = [fact.finding for fact in told if fact.finding.health is not Health.OK]
    mine = [each for each in mine if book in rules.by_code.get(each.code, ())]
    probed = (fact for fact in incident.evidence if isinstance(fact, MembersProbed))
    measured = [fact.check for fact in probed if against(node, fact)]
    measured += [each.check for each in mine if each.check in rules.policy.preflight]
    found = [each.key for each in mine if each.check not in rules.policy.preflight]
    return tuple(dict.fromkeys(found)), tuple(dict.fromkeys(measured))


def parts(node: Node, policy: Policy) -> tuple[str, ...]:
    """Give what a node has to pass: its own checks, what loads it, and its own again, for what it brings out.

    The collective checks that it had failed are among them.
    """
    failed = node.cordon.measured if node.cordon is not None else ()
    return (OWN, *dict.fromkeys((*policy.preflight, *failed)), OWN)


def gpus_of(node: Node) -> tuple[int, ...]:
    """GPUs of which a check had found what a node is out for."""
    components = [component for _, _, component in node.cordon.found] if node.cordon else []
    named = (gpu_of(component) for component in components)
    return tuple(sorted({gpu for gpu in named if gpu is not None}))


def is_bare(node: Node, state: State) -> bool:
    """Say whether no process of a job is left on a node that is out."""
    return is_emptied(node) and is_idle(node, state)


def is_emptied(node: Node) -> bool:
    """Say whether a node is out and nothing is to be done to empty it; what others drain is theirs."""
    return node.cordon is not None and (node.is_empty or not node.cordon.is_ours)


def is_idle(node: Node, state: State) -> bool:
    """Say whether nothing of a job is on a node, and nothing is still to leave it."""
    waiting = (state.workers.waiting(job, node.id) for job in state.jobs)
    leaving = (action for action in state.unfinished.values() if isinstance(action, LEAVING))
    return not (
        state.workers.sitting(node.id) or any(waiting) or any(_leaves(each, node, state) for each in leaving)
    )


def _leaves(action: Resume | StopWorker, node: Node, state: State) -> bool:
    """Say whether a process leaves the node by this order, which has not ended yet."""
    if isinstance(action, StopWorker):
        return action.node == node.id
    left = (state.workers.get(action.job, worker) for worker in action.pause)
    return any(worker is not None and worker.node == node.id for worker in left)


# --- verdicts --------------------------------------------------------------------------------------------


def of_own(node: Node, proof: Proof, fact: NodeProbed) -> tuple[ProofStage, str]:
    """Judge what a node's own checks say of it by now; UNDER_WAY if nothing is against it.

    A check that it had failed has to find nothing, and know it; of the others nothing may be critical.
    """
    out_for = node.cordon.found if node.cordon is not None else ()
    codes, checks = {(check, code) for check, code, _ in out_for}, {check for check, _, _ in out_for}
    measured = {TRAINER, *proof.left}  # what a collective check had found, it says itself when it is run
    states = [each for each in node.findings.values() if each.check not in measured]
    events = [each.finding for each in node.recent if each.finding.event and each.happened >= proof.at]
    for each in (*states, *events):
        again = (each.check, each.code) in codes and each.health is Health.WARNING
        if each.health is Health.CRITICAL or again:
            return ProofStage.FAILED, _found(each)
    unknown = [each for each in states if each.health is Health.UNKNOWN]
    for each in unknown:
        if each.check in checks or each.code in NO_OPINION:
            return ProofStage.NOT_RUN, f"{_found(each)}; see why on the node: `sentinel check {each.check}`"
    missing = {*fact.missing, *(checks - {*fact.checks} if fact.checks else ())}
    if missing:
        names = ", ".join(sorted(missing))
        return ProofStage.NOT_RUN, f"no answer from {names}; see why on the node: `sentinel check`"
    return ProofStage.UNDER_WAY, ""


def of_measured(node: Node, fact: MembersProbed) -> tuple[ProofStage, str]:
    """Judge what a node has measured; UNDER_WAY if nothing is against it, with what that was."""
    if found := against(node.id, fact):
        return ProofStage.FAILED, _found(found[0])
    mine = [each for each in fact.samples if each.node == node.id]
    error = next((each.error for each in mine if each.error), fact.error)
    if error or not mine:
        why = error or "no other node is free to measure with"
        see = f"`sentinel probe {fact.check} --nodes {node.id}`"
        return ProofStage.NOT_RUN, f"{fact.check}: {why}; see why: {see}"
    least: dict[str, float] = {}
    for name, value in (pair for each in mine for pair in each.values.items()):
        what = name.rpartition("|")[2]
        least[what] = min(value, least.get(what, value))
    values = ", ".join(f"{what} {value:.4g}" for what, value in least.items())
    apart = (each for each in fact.held if each.figure.node == node.id and each.standing in BESIDE_OTHERS)
    notes = "".join(f"; {beside(each)}" for each in islice(apart, 1))
    return ProofStage.UNDER_WAY, f"{fact.check}: {values}{notes}"


def after(said: str) -> str:
    """Give what is said, after a colon, if there is anything."""
    return f": {said}" if said else ""


def against(node: NodeId, fact: MembersProbed) -> list[Finding]:
    """Give what nodes that measured together found of one; that nothing is known of it is no such thing."""
    mine = (each.finding for each in fact.findings if each.node == node)
    return [each for each in mine if each.health is not Health.UNKNOWN]


def _found(finding: Finding) -> str:
    return f"{finding.check} found on {finding.component}: {finding.summary}"


# --- whether it may be asked, and how far it is ----------------------------------------------------------


def refuse(node: Node, policy: Policy) -> str:
    """Why a proof of a node makes no sense now, in one line; empty when it does."""
    without = WITHOUT.format(node=node.id)
    if node.left:
        return f"{node.id} has no agent that could run the checks: Sentinel was taken off it; {without}"
    if node.silent:
        return f"{node.id} is silent: no agent answers there that could run the checks; {without}"
    if node.is_proved:
        return f"{node.id} is being proved already"
    if history := to_inspect(node, policy):
        return f"{node.id} is to be inspected by people: {_history(history, policy)}; {without}"
    return ""


def to_inspect(node: Node, policy: Policy) -> Sequence[Eviction]:
    """Give the evictions for which a node is to be inspected: so many that repairs have not helped."""
    last = node.history[-1].at if node.history else 0.0
    often = [each for each in node.history if each.at > last - policy.inspect_s]
    out = node.cordon is not None and node.cordon.by != SCHEDULER
    return often if out and len(often) >= policy.inspect_after else ()


def _history(evictions: Sequence[Eviction], policy: Policy) -> str:
    each = ", ".join(f"{eviction.cause} ({eviction.incident})" for eviction in evictions)
    return f"evicted {counted(len(evictions), 'time')} within {policy.inspect_s / DAY_S:.3g} days: {each}"


def on_probation(node: Node, state: State) -> bool:
    """Say whether a node came back by proof so lately that its first failure takes it out."""
    return node.cordon is None and node.probation > state.now


def progress(node: Node) -> str:
    """Say how far a node's newest proof is; empty where there is none."""
    proof = node.proof
    if proof is None:
        return ""
    asked = f"asked by {proof.who}"
    if not proof.is_under_way:
        return f"proof {proof.stage.value}, {asked}{after(proof.said)}"
    if not proof.order:
        return f"proof, {asked}, waits until no process of a job is left there"
    again = " once more, and is over then" if len(proof.left) == 1 else ""
    return f"proof, {asked}, runs {proof.left[0] or 'its own checks'} on {node.id}{again}"


def left(node: Node, policy: Policy) -> Iterator[str]:
    """Say what a node that is out has shown, and what was tried, as far as that is people's business."""
    proof = node.proof
    if proof is not None and proof.stage in (ProofStage.FAILED, ProofStage.NOT_RUN):
        yield f"{node.id}: its proof {_told(proof)}"
    if history := to_inspect(node, policy):
        yield f"{node.id} is to be inspected: {_history(history, policy)}"


def _told(proof: Proof) -> str:
    word = "failed" if proof.stage is ProofStage.FAILED else proof.stage.value
    return f"{word}: {proof.said}"


def rungs(node: Node, rules: Rules) -> tuple[Rung, ...]:
    """Repairs that may still be tried on a node that an incident took out, the mildest first."""
    if node.cordon is None or not node.cordon.is_ours or to_inspect(node, rules.policy):
        return ()
    book = rules.runbooks.get(Cause(node.cordon.reason))
    allowed = [rung for rung in book.repair if rung.value in rules.policy.repair] if book else []
    return tuple(rung for rung in allowed if rung not in node.rungs)
