"""A node whose kernel started again, and all its processes ended with the old one."""

from collections.abc import Iterator

from sentinel.core.state import State
from sentinel.core.state.rows import Node, kernel_of
from sentinel.model.fact import Fact, FindingReported, RankExited
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import Instant
from sentinel.model.report import UNKNOWN_END, Hello


def rebooted(node: Node, hello: Hello, state: State, now: Instant) -> Iterator[Fact]:
    """Tell why its processes ended, unless that was announced, and that they did: no agent was there to see.

    An agent that was only started again comes with the same kernel, and finds them where they were.
    """
    before, after = kernel_of(node.boot), kernel_of(hello.boot)
    if not before or before == after:
        return
    if node.maintained is None and not node.left:
        said = "this node started again, and nobody had announced it"
        evidence = {"boot_before": before, "boot": after}
        # where no rank was, nobody has lost anything by it: that stands in the node's history
        health = Health.CRITICAL if state.job_on(node.id) else Health.WARNING
        found = Finding("boot", "started-again", "boot", health, said, evidence, event=True)
        yield FindingReported(now, node.id, found)
    for worker in state.workers.rows.values():
        if worker.node == node.id and worker.is_living:
            place = worker.rank, worker.id, worker.node, worker.gpu, worker.pid
            yield RankExited(now, worker.job, *place, state.jobs[worker.job].generation, UNKNOWN_END)
