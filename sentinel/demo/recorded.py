"""What Sentinel did in an incident, from its recording: for what the logbook's rows do not tell."""

from collections.abc import Iterator

from sentinel.demo.observe import rows
from sentinel.demo.sandbox import Sandbox
from sentinel.logbook.recording import read
from sentinel.model.action import Resume, StartWorker
from sentinel.model.fact import FindingReported, Outcome, RankExited, RankRaised
from sentinel.model.finding import Health
from sentinel.model.ids import Instant
from sentinel.model.journal import Line
from sentinel.model.report import MISCOMPUTED


def lines(sandbox: Sandbox, since: Instant) -> list[Line]:
    """Everything that was learned and decided since then, as far as an incident's recording tells."""
    newest = next((row["incident"] for row in rows(sandbox)), "")
    path = sandbox.state_dir / "recordings" / f"{newest}.jsonl"
    if not path.exists():
        return []
    return [line for line in read(path.read_text(), path.name).lines if line.fact.at >= since]


def no_stack(found: list[Line], pid: int) -> list[str]:
    """Say so unless this process's stack was brought back before the process was killed."""
    for line in found:
        fact = line.fact
        if isinstance(fact, Outcome) and "/stacks/" in fact.action:
            if any(f"Process {pid}:" in text and "Thread" in text for text in fact.data):
                return []
        elif isinstance(fact, RankExited) and fact.pid == pid:
            return [f"process {pid} was killed before its stack was taken"]
    return [f"no stack of process {pid} was kept"]


def reused(found: list[Line], node: str, codes: frozenset[str]) -> list[str]:
    """Say what was put on a node once one of these findings accused it."""
    accused, wrong = False, list[str]()
    for line in found:
        fact = line.fact
        if isinstance(fact, FindingReported) and fact.node == node and fact.finding.code in codes:
            accused |= fact.finding.health is Health.CRITICAL
        if accused:
            wrong += [f"{what} on {node} though its GPU was accused" for what in _put_on(line, node)]
    return wrong


def _put_on(line: Line, node: str) -> Iterator[str]:
    for action in line.actions:
        if isinstance(action, StartWorker) and action.node == node:
            yield f"{action.worker} was started"
        if isinstance(action, Resume):
            yield from (f"rank {seat.rank} was seated" for seat in action.seats if seat.node == node)


def raised_on(found: list[Line], rank: int) -> list[str]:
    """Give the nodes on which this rank's own code raised, in that order."""
    own = (line.fact for line in found if isinstance(line.fact, RankRaised) and line.fact.kind == "user")
    return [str(fact.node) for fact in own if fact.rank == rank]


def replays(found: list[Line]) -> int:
    """Count the generations that were formed to repeat a failed step."""
    return sum(isinstance(action, Resume) and action.replay for line in found for action in line.actions)


def compared(found: list[Line], rank: int) -> list[str]:
    """Say so unless the ranks compared their devices and found that this one's computes wrong."""
    said = [
        line.fact for line in found if isinstance(line.fact, RankRaised) and line.fact.kind == MISCOMPUTED
    ]
    wrong = {at for fact in said for at, value in enumerate(fact.values) if value}
    return (
        [] if wrong == {rank} else [f"the ranks' devices were not compared, or accused ranks {sorted(wrong)}"]
    )


def findings(found: list[Line], code: str) -> list[str]:
    """Give the words of the bad findings with this code."""
    seen = (line.fact for line in found if isinstance(line.fact, FindingReported))
    bad = (Health.CRITICAL, Health.WARNING)
    return [fact.finding.summary for fact in seen if fact.finding.code == code and fact.finding.health in bad]
