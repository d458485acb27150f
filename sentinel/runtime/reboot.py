"""Rebooting a node that is out and empty, by the operator's command."""

from sentinel.core.state.rows import Node
from sentinel.model.action import Repair
from sentinel.runtime.command_line import run
from sentinel.runtime.hands import OperatorsCommand


async def reboot(action: Repair, node: Node, command: OperatorsCommand) -> tuple[str, tuple[str, ...]]:
    """Run the command once; gives how it went and what it said last.

    A controller that took over may run it again, with the same SENTINEL_REPAIR, unless the node is back.
    Raises ActionError when none is set, it fails, or does not end in time: then it is killed.
    """
    if node.repairing != action.id:
        return "superseded", ()
    return await run(command, {"SENTINEL_REPAIR": action.id, "SENTINEL_NODE": action.node})
