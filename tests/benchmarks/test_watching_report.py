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
