"""In which order the actions of one decision are done."""

from sentinel.model.action import Action, CollectStacks, Page, Resume, Seat, StopWorker
from sentinel.model.ids import ActionId, IncidentId, JobId, NodeId, WorkerId
from sentinel.runtime.perform import turns

INCIDENT, JOB = IncidentId("I-0001"), JobId("moe")
PAGE = Page(ActionId("page"), INCIDENT, 1, "a rank hangs", "", "mitigating")


def resume(*nodes: str, pause: tuple[WorkerId, ...] = ()) -> Resume:
    seats = tuple(Seat(rank, WorkerId(f"w{rank}"), NodeId(node), 0) for rank, node in enumerate(nodes))
    return Resume(ActionId("resume"), INCIDENT, JOB, 2, seats, pause=pause)


def stop(node: str) -> StopWorker:
    return StopWorker(ActionId(f"stop on {node}"), INCIDENT, JOB, WorkerId("w9"), NodeId(node), 99)


def in_order(*actions: Action) -> list[list[str]]:
    """The turns that have anything to do, and last what waits for nothing."""
    turn_by_turn, aside = turns(actions)
    return [[action.id for action in turn] for turn in [*turn_by_turn, aside] if turn]


def test_a_killed_process_is_gone_before_another_takes_its_gpu() -> None:
    turns = in_order(stop("n1"), resume("n1", "n2"), PAGE)
    assert turns == [["stop on n1"], ["resume"], ["page"]]


def test_nobody_waits_for_a_process_on_a_node_that_is_left() -> None:
    turns = in_order(stop("n3"), resume("n1", "n2"), PAGE)
    assert turns == [["resume"], ["stop on n3", "page"]]


def test_a_graceful_resume_comes_first_so_that_no_step_is_lost() -> None:
    turns = in_order(stop("n1"), resume("n1", "n2", pause=(WorkerId("w0"),)), PAGE)
    assert turns == [["resume"], ["stop on n1"], ["page"]]


def test_stacks_are_taken_before_anything_is_killed() -> None:
    stacks = CollectStacks(ActionId("stacks"), INCIDENT, ((NodeId("n3"), 0, 99),), 1.5)
    assert in_order(stop("n3"), stacks, PAGE) == [["stacks"], ["stop on n3"], ["page"]]
