import random
import statistics

from benchmarks.watching.report import compare


def test_noise_that_a_round_shares_does_not_count() -> None:
    moods = (1.0, 3.0, 0.5, 10.0, 1.5)
    rounds = [
        {
            "bare": {"seconds": [0.1 * mood] * 5, "cpu": [0.1] * 5},
            "watched": {"seconds": [0.102 * mood] * 5, "cpu": [0.1] * 5},
        }
        for mood in moods
    ]
    ratio = compare(rounds, "watched", "bare", "seconds", statistics.median)
    assert str(ratio) == "+2.00% [+2.00%, +2.00%]"


def test_the_interval_holds_the_truth_nineteen_times_in_twenty() -> None:
    chance, held = random.Random(0), 0
    for _ in range(400):
        rounds = [
            {"bare": {"seconds": [1.0]}, "watched": {"seconds": [1.02 * chance.lognormvariate(0, 0.1)]}}
            for _ in range(30)
        ]
        ratio = compare(rounds, "watched", "bare", "seconds", statistics.median)
        held += ratio.low <= 1.02 <= ratio.high
    assert 0.92 <= held / 400 <= 0.98
