"""Nodes that are out and show that they are well: asked for, answered, passed or not; and their repairs."""

from msgspec.structs import replace

from sentinel.core import proofs
from sentinel.core.learn import cordons, maintenance
from sentinel.core.state import Rules, State
from sentinel.core.state.rows import Node, Proof, ProofStage, kernel_of
from sentinel.core.state.timers import Timer
from sentinel.model.action import kind_of
from sentinel.model.counted import duration
from sentinel.model.fact import Commanded, MembersProbed, NodeJoined, NodeProbed, Outcome
from sentinel.model.ids import IncidentId, NodeId
from sentinel.model.policy import Rung


def ask(state: State, fact: Commanded, rules: Rules) -> None:
    """An operator wants a node back, if it is well; one that is not out has nothing to show."""
    node = state.nodes.get(NodeId(fact.target))
    if node is None:
        return
    if node.cordon is None:
        cordons.undrain(state, fact, rules)
    elif not proofs.refuse(node, rules.policy):
        maintenance.end(state, node.id, rules)  # whoever worked there has done so: what is found counts
        _begin(state, node, fact.who, fact.reason, rules)


def vouch(state: State, fact: Commanded, rules: Rules) -> None:
    """An operator takes a node back on their word; one that was to be inspected has been."""
    node = state.nodes.get(NodeId(fact.target))
    if node is not None and proofs.to_inspect(node, rules.policy):
        state.change(node, history=())
    cordons.undrain(state, fact, rules)


def _begin(state: State, node: Node, who: str, reason: str, rules: Rules) -> None:
    left = proofs.parts(node, rules.policy)
    state.change(node, proof=Proof(who, reason, state.now, left))


def checked(state: State, fact: NodeProbed, rules: Rules) -> None:
    """A node's own checks have run for its proof; what they found came before."""
    node = _proved(state, fact.node, fact.reason)
    if node is not None and node.proof is not None:
        _goes_on(state, node, *proofs.of_own(node, node.proof, fact), rules)


def measured(state: State, fact: MembersProbed, rules: Rules) -> None:
    """A node has measured for its proof."""
    if kind_of(fact.action) == "prove":
        node = _proved(state, NodeId(fact.action.split("/")[2]), fact.action)
        if node is not None:
            _goes_on(state, node, *proofs.of_measured(node, fact), rules)


def _proved(state: State, name: NodeId, order: str) -> Node | None:
    """Return the node whose proof waits for this order's answer."""
    node = state.nodes.get(name)
    under_way = node is not None and node.is_proved and node.proof is not None and node.proof.order == order
    return node if under_way else None


def failed(state: State, fact: Outcome, name: NodeId, rules: Rules) -> None:
    """An order of a proof ended; one that could not be given leaves the node out."""
    node = _proved(state, name, fact.action)
    if node is not None and not fact.ok:
        said = f"{fact.detail}; when that is mended: `sentinel undrain {name}`"
        _goes_on(state, node, ProofStage.NOT_RUN, said, rules)


def late(state: State, name: NodeId, rules: Rules) -> None:
    """What a node was asked to run has no answer in time."""
    node = state.nodes.get(name)
    if node is not None and node.is_proved and node.proof is not None and node.proof.order:
        what = node.proof.left[0] or "its own checks"
        said = f"no answer from {what} in time; see why on the node: `sentinel check`"
        _goes_on(state, node, ProofStage.NOT_RUN, said, rules)


def _goes_on(state: State, node: Node, stage: ProofStage, said: str, rules: Rules) -> None:
    """Go on with a proof's next part, or end it: passed when nothing was against it to the end."""
    proof = node.proof
    assert proof is not None
    state.deadlines.drop(Timer.PROOF.of(node.id))
    if stage is not ProofStage.UNDER_WAY:
        _ends(state, node, replace(proof, stage=stage, said=said, order=""))
        return
    measured = "; ".join(filter(None, (proof.said, said)))
    proof = replace(proof, left=proof.left[1:], said=measured, order="")
    if proof.left:
        state.change(node, proof=proof)
    else:
        _passes(state, node, replace(proof, stage=ProofStage.PASSED), rules)


def _passes(state: State, node: Node, proof: Proof, rules: Rules) -> None:
    """A node that has shown that it is well is in use again, and watched for a while."""
    _ends(state, node, proof)
    why = f"its proof passed{proofs.after(proof.said)}"
    cordons.undrain(state, Commanded(state.now, "undrain", node.id, proof.who, why), rules)
    state.change(node, proof=proof, probation=state.now + rules.policy.probation_s)


def _ends(state: State, node: Node, proof: Proof) -> None:
    state.change(node, proof=proof)
    why = f", {proof.reason}" if proof.reason else ""
    note(state, node, f"proof {proof.stage.value}, asked by {proof.who}{why}{proofs.after(proof.said)}")


def note(state: State, node: Node, said: str) -> None:
    """Have the incident that took a node out tell what became of it."""
    incident = state.incidents.get(IncidentId(node.cordon.by)) if node.cordon is not None else None
    if incident is not None:
        after = f"{duration(state.now - incident.opened)} after it was seen"
        state.change(incident, proofs=(*incident.proofs, f"{node.id}: {said} ({after})"))


# --- repairs ---------------------------------------------------------------------------------------------


def repaired(state: State, fact: Outcome, name: NodeId, rules: Rules) -> None:
    """A repair has ended: the node shows whether it helped; one that reboots does so when it is back."""
    node = state.nodes.get(name)
    if node is None or node.repairing != fact.action:
        return
    rung = node.rungs[-1]
    note(state, node, f"{rung.value}: {'' if fact.ok else 'not done, '}{fact.detail}")
    if fact.ok and rung is Rung.REBOOT:
        state.set_deadline(Timer.REBOOT.of(name), rules.policy.reboot_s)
    else:
        _is_repaired(state, node, rules, helped=fact.ok)


def back(state: State, fact: NodeJoined, before: str, rules: Rules) -> None:
    """A node that was rebooted is back: its agent's boot is of another kernel's than `before`."""
    node = state.nodes[fact.node]
    if node.repairing and node.rungs[-1] is Rung.REBOOT and kernel_of(before) != kernel_of(fact.boot):
        _is_repaired(state, node, rules, helped=True)


def not_back(state: State, name: NodeId, rules: Rules) -> None:
    """A node that was rebooted did not come back."""
    node = state.nodes.get(name)
    if node is not None and node.repairing:
        note(state, node, f"{node.rungs[-1].value}: not back within {rules.policy.reboot_s:.0f} s")
        _is_repaired(state, node, rules, helped=False)


def _is_repaired(state: State, node: Node, rules: Rules, *, helped: bool) -> None:
    state.deadlines.drop(Timer.REBOOT.of(node.id))
    node = state.change(node, repairing="")
    if helped and not proofs.refuse(node, rules.policy):
        _begin(state, node, proofs.SENTINEL, f"after {node.rungs[-1].value}", rules)
