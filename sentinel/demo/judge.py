"""Whether what came out of a fault is what must come out: one line for each thing that is not."""

from collections.abc import Iterable, Iterator, Sequence

from sentinel.demo.fault import Expected, Injection, Place
from sentinel.demo.pace import SLOWEST
from sentinel.demo.result import Result, Seen


def judge(expected: Expected, injection: Injection, seen: Seen, result: Result) -> None:
    """Fill in the result's verdicts, and say what is wrong."""
    result.right_cause = _right_cause(expected, result)
    result.right_place = _right_place(expected, injection, result)
    result.false_blame = any(_falsely(suspects, injection) for suspects in seen.suspects)
    result.false_eviction = any(node != injection.truth.node for node in result.evicted)
    result.wrong += [
        *_diagnosis(expected, injection, result),
        *_pages(expected, result),
        *_evictions(expected, injection.truth, seen, result),
        *(_training(expected, injection, seen, result) if expected.resumes else ()),
        *_steps(expected, result),
    ]


def _right_cause(expected: Expected, result: Result) -> bool:
    return result.cause in expected.causes if expected.causes else not result.incidents


def _right_place(expected: Expected, injection: Injection, result: Result) -> bool:
    """Whether every suspect names what it must; where nobody is to blame there must be none."""
    if not (expected.causes and expected.names):
        return not result.suspects
    named = [[end.fits(each, expected.names) for each in result.suspects] for end in _ends(injection)]
    return bool(result.suspects) and all(map(any, zip(*named, strict=True))) and all(map(any, named))


def _ends(injection: Injection) -> list[Place]:
    """Where it happened: at both ends of what lies between two nodes."""
    return [end for end in (injection.truth, injection.other_end) if end is not None]


def _falsely(suspects: Iterable[Place], injection: Injection) -> bool:
    """Whether one of an incident's suspects has nothing to do with the fault."""
    places = [place for place in (*_ends(injection), *injection.struck) if place != Place()]
    return any(not any(place.fits(suspect) for place in places) for suspect in suspects)


def _diagnosis(expected: Expected, injection: Injection, result: Result) -> Iterator[str]:
    if not result.right_cause and expected.causes:
        yield f"cause {result.cause}, expected {' or '.join(sorted(expected.causes))}"
    if not result.right_cause and not expected.causes:
        yield f"{result.incidents} incidents, expected none: {result.cause}"
    if expected.causes and result.beside != sorted(expected.beside):
        besides = ", ".join(sorted(expected.beside)) or "nothing"
        yield f"beside {result.cause} came {result.beside}, expected {besides}"
    if not result.right_place:
        named = ", ".join(expected.names) or "nobody"
        yield f"blamed {_places(result.suspects)}, the truth is {injection.truth}; to be named: {named}"
    elif result.false_blame:
        yield "an incident beside blames somebody who has nothing to do with it"


def _places(places: Sequence[Place]) -> str:
    return ", ".join(map(str, places)) or "nobody"


def _pages(expected: Expected, result: Result) -> Iterator[str]:
    least, most = expected.pages
    if result.pages is not None and not least <= result.pages <= most:
        yield f"{result.pages} pages, expected {least} to {most}"


def _evictions(expected: Expected, truth: Place, seen: Seen, result: Result) -> Iterator[str]:
    should = [truth.node] if expected.evicts else []
    if result.evicted != should:
        yield f"evicted {result.evicted}, expected {should}"
    if expected.evicts and expected.resumes:
        sitting = [victim.rank for victim in seen.now if victim.node == truth.node]
        yield from (f"rank {rank} still sits on {truth.node}" for rank in sitting)


def _training(expected: Expected, injection: Injection, seen: Seen, result: Result) -> Iterator[str]:
    """Judge who trains now, and how fast training went on."""
    if result.new_step_s is None:
        yield "no new step"
    if result.world != len(seen.before):
        yield f"{result.world} ranks train, {len(seen.before)} did before"
    lost = _needlessly_lost(expected, injection, seen)
    if len(lost) > expected.moved:
        yield f"processes {lost} did not survive, at most {expected.moved} of them had to go"
    if expected.in_place:
        homes = [victim.node for victim in seen.now if victim.rank == injection.truth.rank]
        if homes != [injection.truth.node]:
            yield f"rank {injection.truth.rank} sits on {homes}, not in place on {injection.truth.node}"
    if expected.advances and (result.pace is None or result.pace < SLOWEST):
        yield f"training went on at {result.pace} of its usual pace, at least {SLOWEST} expected"


def _needlessly_lost(expected: Expected, injection: Injection, seen: Seen) -> list[int]:
    """Pids of ranks that neither died of the fault nor sat on its evicted node, and are gone all the same."""
    evicted = injection.truth.node if expected.evicts else None
    should = {v.pid for v in seen.before if v.pid not in injection.dead and v.node != evicted}
    return sorted(should - {victim.pid for victim in seen.now})


def _steps(expected: Expected, result: Result) -> Iterator[str]:
    if (result.steps_lost or 0) > expected.steps_lost:
        yield f"{result.steps_lost} steps lost, at most {expected.steps_lost} allowed"
