"""Whether a node's agent can have a key when it is started, and what a person does if it can't."""

import socket

from sentinel.adapters.enrolment import Enrolment, EnrolmentError
from sentinel.adapters.keys import KeyFileError
from sentinel.model.ids import NodeId
from sentinel.runtime.hands import ActionError


def admit(enrolment: Enrolment, node: NodeId, address: str) -> None:
    """Enrol a node of this machine; elsewhere see that it is, or may join. Raises ActionError."""
    if enrolment.nodes.get(node):
        return
    if node in enrolment.nodes:
        raise ActionError(f"{node} was revoked: `sentinel enroll {node}` takes it back")
    if is_here(address):
        try:
            enrolment.enroll(node)
        except (EnrolmentError, KeyFileError, OSError) as error:
            raise ActionError(f"{node} can't be enrolled: {error}") from None
    elif not any(not token.refusal(node) for token in enrolment.tokens.values()):
        raise ActionError(f"{node} has no key: `sentinel enroll {node}` makes one, or give it a join token")


def is_here(address: str) -> bool:
    """Say whether an address is this machine's own."""
    try:
        with socket.socket() as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
