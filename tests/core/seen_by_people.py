"""What people were told, and when generations were formed: what the tests of requirements look at."""

from typing import Any

from simulated import Simulated

from sentinel.model.action import Action, Page, Resume
from sentinel.model.fact import Fact, JobSubmitted
from sentinel.model.ids import JobId, NodeId


class Timed(Simulated):
    """A simulated cluster that remembers when each action was decided."""

    def __init__(self, *args: Any, **named: Any) -> None:
        self.decided: list[tuple[float, Action]] = []
        super().__init__(*args, **named)
        self.decided.clear()

    def tell(self, fact: Fact) -> tuple[Action, ...]:
        actions = super().tell(fact)
        self.decided += [(self.now, action) for action in actions]
        return actions

    def formed_at(self) -> list[float]:
        """When each generation was ordered."""
        return [at for at, action in self.decided if isinstance(action, Resume)]


def newest(cluster: Simulated) -> list[Page]:
    """Each page as it reads now, oldest incident first."""
    return list({page.incident: page for page in cluster.all(Page)}.values())


def text(cluster: Simulated) -> str:
    """All that the pages say now."""
    return "\n".join(f"{page.title}\n{page.body}" for page in newest(cluster))


def titles(cluster: Simulated) -> str:
    """All that any page's title ever said: whom people were told to look at."""
    return "\n".join(page.title for page in cluster.all(Page))


def names(node: NodeId, said: str) -> bool:
    """Say whether a text names this node: n1 is not n12."""
    return node in said.replace(",", " ").replace(":", " ").replace(";", " ").split()


def open_incidents(cluster: Simulated) -> int:
    return sum(stage != "resolved" for stage in cluster.stages())


def idle(cluster: Simulated, count: int) -> list[NodeId]:
    """Nodes without a rank."""
    return [node for node in cluster.state.nodes if not cluster.sitting(node)][:count]


def submit(
    cluster: Simulated, job: JobId, world: int, *, min_world: int = 0, standbys: int = 0, **more: Any
) -> None:
    """Submit a job, and let it start if it can."""
    least = min_world or world
    cluster.tell(JobSubmitted(cluster.now, job, world, "x:y", standbys, least, **more))
    cluster.run(10)


def seated(cluster: Simulated, job: JobId) -> list[NodeId]:
    return [worker.node for _, worker in cluster.state.seated(cluster.state.jobs[job])]


def resumed(cluster: Simulated, job: JobId) -> list[Resume]:
    return [resume for resume in cluster.all(Resume) if resume.job == job]
