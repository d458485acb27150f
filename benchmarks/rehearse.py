"""How long a rehearsal takes: the field's cases, a quiet month, a crash on 1,000 nodes."""

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sentinel import runbooks
from sentinel.model.policy import Policy
from sentinel.rehearse.reading import of_plain
from sentinel.rehearse.run import rehearse, scenarios
from sentinel.rehearse.scenario import Scenario

FIELD = Path(__file__).parents[1] / "tests" / "field"
MONTH_S = 30 * 86_400


def _plain(*steps: dict[str, Any], **cluster: Any) -> Scenario:
    return of_plain({"steps": list(steps), "cluster": cluster}, "benchmark")


def _rows(nodes: int) -> Iterator[tuple[str, Sequence[Scenario]]]:
    yield "the field's cases", list(scenarios([FIELD]))
    yield "a quiet month on 4 nodes", [_plain({"run": MONTH_S})]
    crash = ({"crash": [0, "signal 9"]}, {"run": 10.0})
    yield f"a crash, {nodes} nodes of 8 GPUs", [_plain(*crash, nodes=nodes, gpus=8, world=8 * nodes - 8)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000, help="of the large cluster")
    arguments = parser.parse_args()
    books = runbooks.load()
    print("| rehearsed | scenarios | facts | in the fold s | in all s |\n|---|---:|---:|---:|---:|")
    for name, played in _rows(arguments.nodes):
        began = time.perf_counter()
        verdicts = [rehearse(each, Policy(), books)[0] for each in played]
        took, fold = time.perf_counter() - began, sum(verdict.fold_s for verdict in verdicts)
        facts = sum(verdict.facts for verdict in verdicts)
        print(f"| {name} | {len(verdicts)} | {facts} | {fold:.2f} | {took:.1f} |")


if __name__ == "__main__":
    main()
