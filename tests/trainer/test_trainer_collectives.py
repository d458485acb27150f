import pytest
import torch

from sentinel.trainer.collectives import CollectiveWatch, NoBeats, covered


class Counts(NoBeats):
    enqueued = completed = 0

    def enqueue(self) -> None:
        self.enqueued += 1

    def complete(self) -> None:
        self.completed += 1


@pytest.mark.parametrize(
    ("spans", "length"),
    [
        pytest.param([], 0, id="no collective"),
        pytest.param([(4, 6), (0, 1)], 3, id="apart"),
        pytest.param([(0, 3), (2, 5)], 5, id="overlapping streams count once"),
        pytest.param([(0, 9), (2, 5)], 9, id="one within another"),
    ],
)
def test_covered(spans: list[tuple[float, float]], length: float) -> None:
    assert covered(spans) == length


def test_collective_that_raises_is_never_completed() -> None:
    beats = Counts()
    watch = CollectiveWatch(beats, torch.device("cpu"))
    with watch.collective():
        pass
    with pytest.raises(ConnectionError), watch.collective():
        raise ConnectionError
    assert (beats.enqueued, beats.completed) == (2, 1)
