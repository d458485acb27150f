"""What the first did, for whoever asks for it again: a button may be pressed twice, and by two."""

from sentinel.core.state import State
from sentinel.logbook.markdown import utc
from sentinel.model.fact import Commanded
from sentinel.model.ids import IncidentId, NodeId


def already(state: State, fact: Commanded) -> str:
    """Say what is so already of what a command asks for; empty where it would change something."""
    match fact.command:
        case "ack":
            incident = state.incidents.get(IncidentId(fact.target))
            return f"{incident.acked_by} has acknowledged it" if incident and incident.acked_by else ""
        case "silence":
            quiet = state.silences.get(fact.target)
            if quiet is None or quiet.until <= fact.at:
                return ""
            return f"{quiet.who or 'somebody'} has silenced {fact.target} until {utc(quiet.until)}"
        case "prove" | "undrain":
            return _in_use(state, NodeId(fact.target))
        case "stop-actions":
            return f"actions are stopped: {state.stopped}" if state.stopped else ""
        case "resume-actions":
            return "" if state.stopped or state.frozen else "actions are neither stopped nor frozen"
        case _:
            said = state.judgements.get(IncidentId(fact.target), ())
            return next((f"{utc(each.at)}, {each}" for each in said if each.what == fact.command), "")


def _in_use(state: State, name: NodeId) -> str:
    node = state.nodes.get(name)
    if node is None:
        return ""
    if node.cordon is None:
        proof = f": its proof, asked by {node.proof.who}, is {node.proof.stage.value}" if node.proof else ""
        return f"{name} is in use again{proof}"
    if node.proof is not None and node.proof.is_under_way:
        return f"{node.proof.who} has asked for its proof at {utc(node.proof.at)}; it is under way"
    return ""
