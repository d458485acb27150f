"""The agent's command line: it takes the node's lock, opens the ports, and leaves them in order."""

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path

import zmq

from sentinel import logs
from sentinel.adapters import agent_card as card
from sentinel.adapters.join import own_key
from sentinel.adapters.keys import KeyFileError, Keys
from sentinel.adapters.strangers import raise_descriptor_limit
from sentinel.adapters.uplink import Uplink
from sentinel.checks import CheckError
from sentinel.gang.snapshot_holder import SnapshotHolder
from sentinel.runtime.agent.loop import Agent
from sentinel.runtime.agent.process import EXIT_REFUSED, OURS_ALONE, AgentError, lock
from sentinel.runtime.agent.settings import AgentSettings, parse


def run(settings: AgentSettings) -> None:
    """Be the agent of one node until SIGTERM or SIGINT. Raises AgentError."""
    raise_descriptor_limit()
    locked = lock(settings.memory, settings.node, take_over=settings.take_over)
    try:
        keys = Keys(settings.keys)
        own_key(keys, settings.node, settings.controller, settings.join_token)
        uplink = Uplink(settings.controller, keys, settings.node)
        holder = _holder(settings, keys)
        agent = Agent(settings, uplink, holder)
    except (KeyFileError, CheckError, OSError, zmq.ZMQError) as error:
        raise AgentError(str(error), EXIT_REFUSED) from None

    def stop(*_: object) -> None:
        agent.stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        agent.run()
    finally:
        agent.close()
        holder.close()
        uplink.close()
        if agent.leaving:
            _remove(settings.memory)
        os.close(locked)


def _remove(memory: Path) -> None:
    """Leave nothing in the host's memory; the cluster's folder goes with the last of its nodes."""
    shutil.rmtree(memory, ignore_errors=True)
    if memory.parent.name.startswith("sentinel-"):
        with contextlib.suppress(OSError):  # another node of this host is there
            memory.parent.rmdir()


def _holder(settings: AgentSettings, keys: Keys) -> SnapshotHolder:
    """Open the port of the last agent's holder again, where ranks of other nodes send their copies."""
    last = card.read(settings.memory)
    with contextlib.suppress(OSError):  # somebody else listens there by now
        port = last.snapshot_port if last else 0
        return SnapshotHolder(settings.memory, settings.address, port, key=keys.snapshot_secret)
    return SnapshotHolder(settings.memory, settings.address, key=keys.snapshot_secret)


def main() -> None:
    """Command line."""
    os.umask(OURS_ALONE)
    logs.to_stderr()
    try:
        run(parse())
    except AgentError as error:
        print(f"sentinel-agent: {error}", file=sys.stderr)
        sys.exit(error.code)


if __name__ == "__main__":
    main()
