"""Keys of a head node whose nodes are enrolled."""

from pathlib import Path

from sentinel.adapters.enrolment import Enrolment
from sentinel.adapters.keys import Keys, ensure_keys
from sentinel.model.ids import NodeId


def keys_with(directory: Path, *nodes: str) -> Keys:
    """Make the keys of a head node, and of these nodes."""
    keys = ensure_keys(directory)
    enrolment = Enrolment(keys)
    for node in nodes:
        enrolment.enroll(NodeId(node))
    return keys
