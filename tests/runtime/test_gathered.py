"""Facts that come in one turn of the loop are committed together, and in order."""

import asyncio
from collections.abc import Sequence

from sentinel.model.fact import Fact, GcsBack
from sentinel.runtime.gathered import AT_ONCE, Gathered


def absorbed_in(turns: list[int]) -> list[list[float]]:
    """Let so many facts come in each turn; gives what was absorbed at once."""
    absorbed: list[list[float]] = []

    def absorb(facts: Sequence[Fact]) -> bool:
        absorbed.append([fact.at for fact in facts])
        return True

    async def live() -> None:
        gathered, number = Gathered(absorb), 0
        for count in turns:
            for _ in range(count):
                gathered(GcsBack(float(number), "gcs"))
                number += 1
            await asyncio.sleep(0)
        while sum(map(len, absorbed)) < number:
            await asyncio.sleep(0)

    asyncio.run(live())
    return absorbed


def test_what_comes_in_one_turn_is_committed_together() -> None:
    assert absorbed_in([3, 1]) == [[0.0, 1.0, 2.0], [3.0]]


def test_a_flood_is_cut_so_that_the_loop_is_not_held_up() -> None:
    absorbed = absorbed_in([2 * AT_ONCE + 1])
    assert list(map(len, absorbed)) == [AT_ONCE, AT_ONCE, 1]
    assert [at for each in absorbed for at in each] == [float(n) for n in range(2 * AT_ONCE + 1)]


def test_what_comes_while_others_wait_comes_after_them() -> None:
    absorbed = absorbed_in([AT_ONCE + 2, 1])
    assert [at for each in absorbed for at in each] == [float(n) for n in range(AT_ONCE + 3)]
