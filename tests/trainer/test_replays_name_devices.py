"""Who is named when a step is computed again on other devices: only one that errs, and never another."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinel.model.trainable import Replayed, ReplayResult, ReplayWhy
from sentinel.trainer.replay import FIRST_STEPS, REST, Replays, Run, Runs, judge, largest

Device = Callable[[int, int], str]
"""What a device gives for a batch, the n-th time that it is asked in a step."""


def healthy(batch: int, _: int) -> str:
    return f"right {batch}"


def always(batch: int, _: int) -> str:
    return f"wrong {batch}"


def at_times(*times: int) -> Device:
    return lambda batch, time: f"wrong {time}" if time in times else healthy(batch, time)


def on_batch(bad: int) -> Device:
    return lambda batch, _: f"wrong {batch}" if batch == bad else f"right {batch}"


def of_kind(kind: str) -> Device:
    return lambda batch, _: f"{kind} {batch}"


def unordered(batch: int, time: int) -> str:
    return f"{batch} summed in order {time}"


def content(_rank: int, batch: int) -> bytes:
    return bytes([batch])


class Gang:
    """Ranks that replay together, each in a thread."""

    def __init__(self, *devices: Device) -> None:
        self.ranks = [Replays(rank, len(devices), 100) for rank in range(len(devices))]
        self.passes = 0

    def replay(
        self,
        *devices: Device,
        read: Callable[[int, int], bytes] = content,
        kinds: Sequence[bytes] = (b"",) * 6,
    ) -> Replayed:
        """What all ranks say alike of one step."""
        world = range(len(devices))
        table: list[Sequence[Run]] = [()] * len(devices)
        meet = Barrier(len(devices))

        def one(rank: int) -> Replayed:
            asked = iter(range(100))

            def run(batch: int) -> Run:
                result = devices[rank](batch, next(asked)).encode()
                return Run(batch, read(rank, batch), result, kinds[rank])

            def exchange(mine: Sequence[Run]) -> Runs:
                table[rank] = mine
                meet.wait(10)
                found = list(table)
                meet.wait(10)
                return found

            found = self.ranks[rank].replay(ReplayWhy.SPIKE, run(rank), run, exchange)
            self.passes = next(asked) - 1
            return found

        with ThreadPoolExecutor(len(devices)) as threads:
            (said,) = {repr(each): each for each in threads.map(one, world)}.values()
        return said


def replayed(*devices: Device, after: Sequence[Device] = ()) -> tuple[str, tuple[int, ...]]:
    """What comes of a step on these devices, if `after` is what they were in one before."""
    gang = Gang(*devices)
    if after:
        gang.replay(*after)
    said = gang.replay(*devices)
    return said.result.value, tuple(said.ranks)


WELL = [healthy] * 4


@pytest.mark.parametrize("world", range(1, 6))
def test_healthy_devices_agree_in_one_pass(world: int) -> None:
    devices = [healthy] * world
    gang = Gang(*devices)
    assert gang.replay(*devices).result is ReplayResult.AGREED
    assert gang.passes == 1


@pytest.mark.parametrize("world", range(2, 6))
@pytest.mark.parametrize("time", [pytest.param(0, id="in training"), pytest.param(1, id="in the replay")])
def test_a_device_that_errs_once_is_named_by_its_own_runs(world: int, time: int) -> None:
    for bad in range(world):
        devices = [healthy] * world
        devices[bad] = at_times(time)
        assert replayed(*devices) == ("named", (bad,))


@pytest.mark.parametrize("world", range(3, 6))
def test_a_device_that_errs_always_is_named_by_all_others_if_it_had_agreed_with_them(world: int) -> None:
    for bad in range(world):
        devices = [healthy] * world
        devices[bad] = always
        assert replayed(*devices, after=[healthy] * world) == ("named", (bad,))


@pytest.mark.parametrize(
    ("devices", "after"),
    [
        pytest.param([always, healthy], [healthy, healthy], id="two ranks, and one errs always"),
        pytest.param([healthy, always, healthy], [], id="it had never agreed: another kind?"),
        pytest.param([of_kind("a"), of_kind("b"), of_kind("b"), of_kind("b")], [], id="one of another kind"),
        pytest.param([of_kind("a"), of_kind("a"), of_kind("b"), of_kind("b")], [], id="two kinds"),
        pytest.param([of_kind(kind) for kind in "abcd"], WELL, id="everything differs"),
        pytest.param([unordered] * 4, WELL, id="kernels that are not deterministic"),
        pytest.param([unordered, unordered, healthy, healthy], WELL, id="two err at once"),
        pytest.param([always, always, healthy, healthy], WELL, id="two err alike"),
        pytest.param(
            [healthy, on_batch(1), healthy, healthy], WELL, id="wrong on one batch, again and again"
        ),
        pytest.param([unordered], [], id="alone"),
    ],
)
def test_nobody_is_named_where_nothing_tells_who(devices: list[Device], after: list[Device]) -> None:
    gang = Gang(*devices)
    if after:
        gang.replay(*after)
    said = gang.replay(*devices)
    assert (said.result, tuple(said.ranks)) == (ReplayResult.UNCLEAR, ())
    assert said.said


def test_a_device_of_another_kind_is_named_by_its_own_runs_alone() -> None:
    mixed = [of_kind("a"), of_kind("a"), of_kind("b")]
    gang = Gang(*mixed)
    assert gang.replay(*mixed).result is ReplayResult.UNCLEAR
    assert gang.replay(*mixed).result is ReplayResult.AGREED, "each repeats its own"
    said = gang.replay(*mixed[:2], lambda batch, time: f"b {batch}" if time else "wrong")
    assert (said.result, said.ranks) == (ReplayResult.NAMED, (2,))


def test_one_of_another_kind_that_had_agreed_is_not_named_for_differing_later() -> None:
    """A step's shapes choose its kernels, and each kind of device chooses by itself."""
    gang, kinds = Gang(*WELL), (b"H100", b"H200", b"H100", b"H100")
    assert gang.replay(*WELL, kinds=kinds).result is ReplayResult.AGREED
    said = gang.replay(healthy, always, healthy, healthy, kinds=kinds)
    assert (said.result, tuple(said.ranks)) == (ReplayResult.UNCLEAR, ())


def test_a_batch_that_two_nodes_read_differently_accuses_no_device() -> None:
    """A data set may be damaged on one node, or be written to just now."""
    devices = [lambda batch, _, rank=rank: f"{batch} on {rank}" for rank in range(3)]
    gang = Gang(*devices)
    gang.replay(healthy, healthy, healthy)
    said = gang.replay(healthy, devices[1], healthy, read=lambda rank, batch: bytes([rank == 1, batch]))
    assert (said.result, said.said) == (
        ReplayResult.UNCLEAR,
        "ranks have read different data for the same batch",
    )


ODD = st.one_of(
    st.just(always),
    st.just(unordered),
    st.sets(st.integers(0, 5)).map(lambda times: at_times(*times)),
    st.integers(0, 5).map(on_batch),
)


@given(st.integers(1, 6), st.sampled_from("ab"), st.lists(st.tuples(st.integers(0, 5), ODD), max_size=1))
def test_only_the_one_that_errs_is_ever_named(world: int, kind: str, odd: list[tuple[int, Device]]) -> None:
    """Whatever it does, and whether or not all devices are of one kind."""
    before = [of_kind("right") if rank % 2 == 0 or kind == "a" else of_kind("b") for rank in range(world)]
    gang, now = Gang(*before), list(before)
    for rank, device in odd:
        now[rank % world] = device
    for devices in (before, now, now):
        said = gang.replay(*devices)
        assert {*said.ranks} <= {rank % world for rank, _ in odd}
        assert bool(said.ranks) == (said.result is ReplayResult.NAMED)


def test_two_that_stand_apart_are_not_told_apart() -> None:
    runs = [[Run(batch, b"", f"{rank} {batch}".encode()) for batch in range(3)] for rank in range(3)]
    assert judge(runs, alike=True)[0] is None


def wanted(gang: Replays, values: Sequence[float], since: int = 1) -> list[ReplayWhy | None]:
    return [gang.wanted(since + step, value, 1.0) for step, value in enumerate(values)]


QUIET = [1.0 + 0.01 * (step % 7) for step in range(40)]


def test_a_spike_is_replayed_and_a_noisy_loss_is_not() -> None:
    replays = Replays(0, 3, 0)
    assert {*wanted(replays, QUIET)} == {None}
    assert wanted(replays, [1.5, 1.0, 1.5]) == [ReplayWhy.SPIKE, None, None], "then it rests"
    assert {*wanted(replays, QUIET[:REST])} == {None}
    assert wanted(replays, [1.5]) == [ReplayWhy.SPIKE]


def test_nothing_is_a_spike_before_it_is_known_what_is_usual() -> None:
    assert {*wanted(Replays(0, 3, 0), [1.0, 90.0, 2.0, 1e9] * (FIRST_STEPS // 4))} == {None}


def test_what_is_not_finite_is_always_replayed() -> None:
    replays = Replays(0, 3, 0)
    assert wanted(replays, [float("nan"), float("inf"), 1.0]) == [ReplayWhy.NOT_FINITE] * 2 + [None]


def test_a_loss_that_climbs_and_stays_costs_little() -> None:
    replays = Replays(0, 3, 0)
    wanted(replays, QUIET)
    climbs = wanted(replays, [1.0 + 0.1 * step for step in range(320)])
    assert sum(why is not None for why in climbs) <= 320 / REST


@pytest.mark.parametrize(("every", "due"), [(100, [15, 100, 200]), (0, [])])
def test_the_rotation_begins_once_the_ranks_have_trained_a_little(every: int, due: list[int]) -> None:
    found = wanted(Replays(0, 3, every), [1.0] * 250, since=0)
    assert [step for step, why in enumerate(found) if why is ReplayWhy.ROTATION] == due


def test_partners_change() -> None:
    replays = Replays(1, 4, 100)
    met = set()

    def run(batch: int) -> Run:
        met.add(batch)
        return Run(batch, b"", b"")

    for _ in range(3):
        replays.replay(ReplayWhy.ROTATION, Run(1, b"", b""), run, lambda mine: [mine])
    assert met == {0, 2, 3}


def test_the_largest_is_one_that_is_not_finite() -> None:
    assert str(largest([1.0, float("nan"), 3.0])) == "nan"
    assert largest([1.0, float("-inf"), 3.0]) == float("-inf")
    assert largest([-5.0, 2.0]) == 2.0
