"""What counts as coming out 'as it must': each thing that is not is said."""

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from sentinel.demo.fault import GPU, NOBODY, Expected, Injection, Place, Victim
from sentinel.demo.judge import judge
from sentinel.demo.observe import steps_lost
from sentinel.demo.pace import pace
from sentinel.demo.result import Result, Seen

BEFORE = (
    Victim(0, "n1", 0, "w1", 100),
    Victim(1, "n1", 1, "w2", 101),
    Victim(2, "n2", 0, "w3", 102),
    Victim(3, "n2", 1, "w4", 103),
)
VICTIM = BEFORE[1]
IN_PLACE = (BEFORE[0], replace(VICTIM, worker="w5", pid=105), *BEFORE[2:])
ON_SPARE = (Victim(0, "n3", 0, "w6", 106), Victim(1, "n3", 1, "w7", 107), *BEFORE[2:])
CRASH = Expected(frozenset({"rank-crash"}), in_place=True)
ECC = Expected(frozenset({"gpu-ecc"}), evicts=True, names=GPU)
CUT = Expected(frozenset({"control-cut"}), names=NOBODY, advances=True)
NONE = Expected(frozenset(), pages=(0, 0), names=NOBODY)


def come_out(
    expected: Expected,
    suspects: Sequence[Place] = (VICTIM.place,),
    *,
    truth: Place = VICTIM.place,
    dead: tuple[int, ...] = (VICTIM.pid,),
    now: Sequence[Victim] = IN_PLACE,
    struck: tuple[Place, ...] = (),
    beside: Sequence[Place] = (),
    **values: object,
) -> Result:
    result = Result("a fault", 0, cause=next(iter(expected.causes), None), suspects=list(suspects))
    result.incidents, result.pages, result.steps_lost = len(expected.causes), expected.pages[0], 0
    result.new_step_s, result.world = 0.5, len(now)
    for name, value in values.items():
        setattr(result, name, value)
    injection = Injection(0.0, truth, dead=dead, struck=struck)
    judge(expected, injection, Seen(BEFORE, now, [result.suspects, list(beside)]), result)
    return result


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(come_out(CRASH), id="a rank replaced in place"),
        pytest.param(come_out(ECC, now=ON_SPARE, evicted=["n1"]), id="both ranks of a node on the spare"),
        pytest.param(
            come_out(ECC, [Place("n1", None, 1)], now=ON_SPARE, evicted=["n1"]),
            id="a GPU on which nobody sits any more",
        ),
        pytest.param(come_out(CUT, (), truth=Place(), dead=(), now=BEFORE, pace=0.9), id="nobody to blame"),
        pytest.param(come_out(NONE, (), truth=Place(), dead=(), now=BEFORE), id="nothing at all"),
        pytest.param(
            come_out(CUT, (), truth=Place(), struck=(VICTIM.place,), beside=[VICTIM.place], pace=1.0),
            id="an incident beside that blames whom the fault struck, too",
        ),
    ],
)
def test_what_must_come_out_is_right(result: Result) -> None:
    assert result.wrong == []
    assert (result.right_cause, result.right_place) == (True, True)
    assert (result.false_blame, result.false_eviction) == (False, False)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        pytest.param(come_out(CRASH, cause="unknown"), "cause unknown", id="another cause"),
        pytest.param(
            come_out(CRASH, [VICTIM.place, BEFORE[2].place]), "blamed", id="a second suspect, and a false one"
        ),
        pytest.param(come_out(CRASH, [Place("n1")]), "to be named: node, rank, gpu", id="only the node"),
        pytest.param(come_out(CRASH, [Place("n1", 1, 0)]), "blamed", id="the wrong GPU of the right node"),
        pytest.param(come_out(CRASH, ()), "blamed nobody", id="no suspect"),
        pytest.param(come_out(CRASH, beside=[Place("n2")]), "beside blames", id="a false blame beside"),
        pytest.param(come_out(CRASH, beside=[], pages=2), "2 pages", id="two pages"),
        pytest.param(
            come_out(CRASH, now=(*IN_PLACE[:3], replace(BEFORE[3], pid=108))),
            r"processes \[103\] did not survive",
            id="a healthy rank that lost its process",
        ),
        pytest.param(
            come_out(CRASH, now=(BEFORE[0], replace(ON_SPARE[1], rank=1), *BEFORE[2:])),
            "not in place",
            id="replaced on another node",
        ),
        pytest.param(come_out(CRASH, now=IN_PLACE[:3]), "3 ranks train", id="a shrunk gang"),
        pytest.param(come_out(CRASH, steps_lost=2), "2 steps lost", id="two steps lost"),
        pytest.param(come_out(CRASH, new_step_s=None), "no new step", id="no step"),
        pytest.param(come_out(CRASH, evicted=["n1"]), r"evicted \['n1'\]", id="evicted though it stays"),
        pytest.param(
            come_out(ECC, evicted=["n1"]), "rank 1 still sits on n1", id="a rank on the evicted node"
        ),
        pytest.param(
            come_out(CUT, (), truth=Place(), dead=(), now=BEFORE, pace=0.2), "0.2 of its usual", id="slowly"
        ),
        pytest.param(
            come_out(CUT, truth=Place(), dead=(), now=BEFORE, pace=1.0), "blamed", id="blame for nobody"
        ),
        pytest.param(
            come_out(NONE, (), truth=Place(), dead=(), now=BEFORE, incidents=1, cause="x"),
            "1 incidents, expected none",
            id="an incident out of nothing",
        ),
    ],
)
def test_what_is_not_as_it_must_is_said(result: Result, said: str) -> None:
    assert any(re.search(said, each) for each in result.wrong), result.wrong


def test_false_blame_and_false_eviction_are_told_apart() -> None:
    blamed = come_out(CRASH, [Place("n2", 2, 0)])
    evicted = come_out(CRASH, evicted=["n2"])
    assert (blamed.false_blame, blamed.false_eviction) == (True, False)
    assert (evicted.false_blame, evicted.false_eviction) == (False, True)


def line(step: int, generation: int) -> dict[str, object]:
    return {"step": step, "g": generation}


@pytest.mark.parametrize(
    ("log", "lost"),
    [
        pytest.param([line(4, 1), line(5, 1), line(6, 2)], 0, id="none"),
        pytest.param([line(4, 1), line(5, 1), line(5, 2), line(6, 2)], 1, id="one trained again"),
        pytest.param(
            [line(5, 1), line(5, 2), line(6, 2), line(6, 3), line(7, 3)], 2, id="one in each of two formings"
        ),
        pytest.param([line(4, 0), line(4, 1), line(5, 1)], 0, id="one before the fault"),
    ],
)
def test_steps_lost_are_those_that_were_trained_again(log: list[dict[str, object]], lost: int) -> None:
    assert steps_lost(log, 1) == lost


def test_the_pace_is_a_share_of_the_usual_one() -> None:
    usual = [{"at": at / 10} for at in range(100) if not 40 < at < 60]
    slower = [{"at": 10 + at / 4} for at in range(1, 21)]
    assert pace(usual + slower, 10.0, 15.0) == pytest.approx(0.4)
    assert pace(usual, 10.0, 15.0) == 0.0
    assert pace([], 9.95, 15.0) is None
