"""A collective probe: round after round its members measure together, and the judge sees what they answer."""

import asyncio
import json
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from types import MappingProxyType
from typing import Protocol

from sentinel.checks import load_collective
from sentinel.model.action import Probe
from sentinel.model.codec import from_plain
from sentinel.model.collective import (
    NO_ANSWER,
    PREPARE_S,
    CollectiveCheck,
    Meeting,
    MemberSample,
    Round,
    parted,
)
from sentinel.model.fact import MembersProbed
from sentinel.model.ids import Instant, NodeId, Seconds
from sentinel.model.report import GetReady, MeasureNow, OrderDone
from sentinel.runtime.hands import ActionError
from sentinel.runtime.members import Member, placed, planned
from sentinel.runtime.probe import Hold, Judged, held_nowhere, judged

PORTS = range(20000, 30000)
"""Where members meet: below what the kernel gives out by itself. A taken one is a sample with an error."""
GRACE: Seconds = 1.0
"""How long an answer may be on its way."""
SAID = 200


class Agents(Protocol):
    """Gives orders to agents."""

    async def order(self, node: NodeId, order: MeasureNow | GetReady, within: float) -> OrderDone:
        """Give an order and wait for what became of it. Raises ActionError, TimeoutError."""


async def probe_members(
    agents: Agents,
    action: Probe,
    addresses: Mapping[NodeId, str],
    now: Callable[[], Instant],
    about: Mapping[NodeId, Member] = MappingProxyType({}),
    heard: Callable[[Sequence[MemberSample]], None] = lambda _: None,
    hold: Hold = held_nowhere,
) -> MembersProbed:
    """Measure the rounds that the check plans, as many as fit into the probe's deadline.

    Its clock starts when all members are ready, or `PREPARE_S` have passed: loading what measures takes
    longer than a measurement on a busy machine. Whoever is not ready then is a sample, and takes no part.

    `about` says what is known of members; `heard` is told after each round what is measured so far; `hold`
    knows what the fleet has measured before. Raises ActionError for an unknown check.
    """
    check = load_collective().get(action.check)
    if check is None:
        raise ActionError(f"there is no collective check {action.check!r:.80}")
    asked_for = (_ready(agents, check, f"{action.id}#ready", node) for node in action.members)
    missing = [placed(sample, 0, about) for sample in await asyncio.gather(*asked_for) if sample]
    able = [node for node in action.members if node not in {sample.node for sample in missing}]
    until, samples, error = time.monotonic() + action.deadline, list[MemberSample](), ""
    for number in count():
        together, error = await asyncio.to_thread(planned, check, able, tuple(samples))
        if not together or (left := until - time.monotonic()) <= GRACE:
            break
        meetings = _meetings(together, addresses, min(check.deadline, left - GRACE))
        asked = (_member(agents, check, f"{action.id}#{number}", each) for each in meetings)
        samples += [placed(sample, number, about) for sample in await asyncio.gather(*asked)]
        heard([*missing, *samples])
    samples = [*missing, *samples]
    found = judged(check, samples, hold) if not error else Judged((), error=error)
    return MembersProbed(
        now(),
        action.id,
        action.incident,
        check.name,
        tuple(samples),
        found.findings,
        found.error,
        held=found.held,
    )


def _meetings(together: Round, addresses: Mapping[NodeId, str], deadline: Seconds) -> Iterator[Meeting]:
    """Say to each node of a round where it meets whom."""
    for members, port in zip(together, random.sample(PORTS, len(together)), strict=True):
        there = tuple(addresses[name] for name in members)
        yield from (Meeting(members, there, port, rank, deadline) for rank in range(len(members)))


async def _ready(agents: Agents, check: CollectiveCheck, order: str, node: NodeId) -> MemberSample | None:
    """Have one node load what it measures with; whatever keeps it from that is its sample."""
    try:
        await agents.order(node, GetReady(order, check.name, PREPARE_S), PREPARE_S + GRACE)
    except TimeoutError:
        return MemberSample(node, (node,), error=NO_ANSWER)
    except ActionError as error:
        return MemberSample(node, (node,), error=f"{error}"[:SAID])
    return None


async def _member(agents: Agents, check: CollectiveCheck, order: str, meeting: Meeting) -> MemberSample:
    """Have one node measure; whatever keeps it from that is its sample."""
    node, members = meeting.members[meeting.rank], meeting.members
    try:
        done = await agents.order(node, MeasureNow(order, check.name, meeting), meeting.deadline + GRACE)
        values: dict[str, float] = from_plain(dict[str, float], json.loads(done.data[0]))
        if not all(map(math.isfinite, values.values())):
            raise ValueError("these are no measurements")
        measured, words = parted(values)
        return MemberSample(node, members, measured, about=words)
    except TimeoutError:
        return MemberSample(node, members, error=NO_ANSWER)
    except (ActionError, IndexError, ValueError, RecursionError) as error:
        return MemberSample(node, members, error=f"{error}"[:SAID])
