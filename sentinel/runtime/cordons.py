"""What others have cordoned or taken back in the scheduler, as facts."""

from collections.abc import Iterable, Iterator, Mapping

from sentinel.backends.port import KnownNode, NodeCordon
from sentinel.core.state import State
from sentinel.core.state.rows import Node, Outside
from sentinel.model.fact import Fact, NodeCordoned, NodeUncordoned
from sentinel.model.ids import Instant, NodeId
from sentinel.redact import redact

MOST_WORDS = 200
"""Characters of what others say that are kept."""


def outside(state: State) -> Mapping[NodeId, Outside]:
    """Remember what the scheduler was told of each node, before it is asked."""
    return {node.id: node.outside for node in state.nodes.values()}


def cordons(
    state: State, known: Iterable[KnownNode], now: Instant, before: Mapping[NodeId, Outside]
) -> Iterator[Fact]:
    """Say what is otherwise than the state has it; of a node that is not listed nothing is known.

    Nor is of one of which the scheduler was told something while it was asked, since `before`.
    """
    for each in known:
        node = state.nodes.get(each.node)
        if node is None or node.left or node.outside != before.get(node.id):
            continue
        theirs = each.cordon if each.cordon and not _is_known(node, each.cordon) else None
        heard = (node.drained.by, node.drained.reason) if node.drained else None
        if theirs is not None and heard != (said := (_words(theirs.by), _words(theirs.reason))):
            yield NodeCordoned(now, node.id, *said)
        elif theirs is None and heard is not None:
            yield NodeUncordoned(now, node.id)


def _is_known(node: Node, cordon: NodeCordon) -> bool:
    """Whether it is what we have told it, or what is just being taken back.

    One of ours that we know nothing of, as after the loss of a journal, counts like anybody's.
    """
    if not cordon.ours:
        return False
    return node.outside.cordon is not None or (node.cordon is not None and node.cordon.is_ours)


def _words(text: str) -> str:
    """Give a stranger's words as one line without secrets."""
    return " ".join(redact(text).split())[:MOST_WORDS]
