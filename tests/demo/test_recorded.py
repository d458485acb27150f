"""What the demo reads out of recordings, tried on those of real incidents."""

from dataclasses import replace
from pathlib import Path

from msgspec import structs

from sentinel.demo.recorded import findings, no_stack, raised_on, replays, reused
from sentinel.logbook.recording import read
from sentinel.model.action import Resume, StartWorker
from sentinel.model.fact import FindingReported, Outcome, RankExited, RankRaised
from sentinel.model.finding import Health
from sentinel.model.journal import Line

INCIDENTS = Path(__file__).parents[1] / "incidents"
ECC = frozenset({"ecc-uncorrectable", "xid-48"})


def lines(cause: str) -> list[Line]:
    return list(read((INCIDENTS / f"{cause}.jsonl").read_text()).lines)


def test_a_stack_counts_if_it_was_taken_before_its_process_was_killed() -> None:
    found = lines("rank-hang")
    killed = [line.fact for line in found if isinstance(line.fact, RankExited)][-1]
    stacks = [line for line in found if isinstance(line.fact, Outcome) and "/stacks/" in line.fact.action]
    others = [line for line in found if line not in stacks]
    assert no_stack(found, killed.pid) == []
    assert no_stack(others, killed.pid) == [f"process {killed.pid} was killed before its stack was taken"]
    assert no_stack([*others, *stacks], killed.pid) != []
    assert no_stack(found, 1) == ["no stack of process 1 was kept"]


def test_a_node_is_used_again_only_by_what_is_put_there_once_it_is_accused() -> None:
    found = lines("gpu-ecc")
    [first, *_] = (
        at
        for at, line in enumerate(found)
        if isinstance(line.fact, FindingReported)
        and line.fact.finding.code in ECC
        and line.fact.finding.health is Health.CRITICAL
    )
    accusation = found[first].fact
    assert isinstance(accusation, FindingReported)
    node = accusation.node
    resume = next(a for line in found[first:] for a in line.actions if isinstance(a, Resume))
    start = next(a for line in found for a in line.actions if isinstance(a, StartWorker))
    back = structs.replace(resume, seats=(structs.replace(resume.seats[0], node=node),))
    again = replace(found[-1], decisions=(back, structs.replace(start, node=node)))
    assert any(isinstance(action, StartWorker | Resume) for line in found[:first] for action in line.actions)
    assert reused(found, node, ECC) == []
    assert reused([*found, again], node, ECC) == [
        f"rank {resume.seats[0].rank} was seated on {node} though its GPU was accused",
        f"{start.worker} was started on {node} though its GPU was accused",
    ]


def test_a_failed_step_that_was_repeated_first_is_seen() -> None:
    assert replays(lines("silent-corruption")) > 0
    assert replays(lines("rank-crash")) == 0


def test_where_a_rank_raised_is_seen() -> None:
    found = lines("node-suspect")
    ranks = {line.fact.rank for line in found if isinstance(line.fact, RankRaised)}
    nodes = {node for rank in ranks for node in raised_on(found, rank)}
    assert len(nodes) == 1


def test_a_bad_finding_s_words_are_seen_and_those_of_its_end_are_not() -> None:
    [summary] = findings(lines("checkpoint-corrupt"), "checkpoint-corrupt")
    assert "step-" in summary
