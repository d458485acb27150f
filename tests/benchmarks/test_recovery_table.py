from pathlib import Path

from benchmarks.recovery.contender import Measurement, Trial
from benchmarks.recovery.table import Result, recall, remember

KILLED = Trial("SIGKILL", seed=3, timeout_s=10.0, cap_s=120.0, save_every=1)


def test_a_comparison_made_in_pieces_is_whole_again(tmp_path: Path) -> None:
    results = [
        Result("torchrun", KILLED, Measurement(3.5, 0, 0)),
        Result("sentinel", KILLED, Measurement(None, None, 0, "no step within 120 s")),
    ]
    for result in results:
        remember(result, tmp_path / "results.jsonl")
    assert recall(tmp_path / "results.jsonl") == results


def test_the_first_piece_has_no_earlier_results(tmp_path: Path) -> None:
    assert recall(tmp_path / "results.jsonl") == []
