"""Draw fabrics with faults and count what the pair check names: `python -m benchmarks.localise`."""

import argparse
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing import Pool
from typing import NamedTuple

from benchmarks.localise import draw
from benchmarks.localise.dlrover import two_rounds
from benchmarks.localise.ours import sentinel

RULES = {"sentinel": sentinel, "two rounds": two_rounds}
MIXED = "1 to 4 mixed"
KINDS = ("none", *draw.KINDS, MIXED)


class Draw(NamedTuple):
    """One fabric: everything follows from it."""

    kind: str
    nodes: int
    racks_known: bool
    seed: int


def main() -> None:
    """Print a Markdown table: one row for each kind of fault and rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200, help="of each kind")
    parser.add_argument("--nulls", type=int, default=1000, help="fabrics in which there is nothing")
    parser.add_argument("--nodes", type=int, default=512)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--racks", nargs="+", choices=("known", "unknown"), default=("known", "unknown"))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    options = parser.parse_args()
    print("| racks | fault | rule | draws | right | precision | recall | rounds, mean (most) |")
    print("|---|---|---|---|---|---|---|---|")
    with Pool(options.processes) as pool:
        for racks in options.racks:
            for kind in options.kinds:
                number = options.nulls if kind == "none" else options.draws
                draws = [Draw(kind, options.nodes, racks == "known", seed) for seed in range(number)]
                for row in _rows(pool.map(_judged, draws, chunksize=1)):
                    print(f"| {racks} | {kind} | {row} |", flush=True)


def _judged(each: Draw) -> dict[str, Counter[str]]:
    """Count what each rule names rightly and wrongly, on the same fabric and faults."""
    found = {}
    for name, rule in RULES.items():
        chance = random.Random(f"{each}")
        if each.kind == MIXED:
            kinds = chance.choices(draw.KINDS, k=chance.randint(1, 4))
        else:
            kinds = [] if each.kind == "none" else [each.kind]
        fabric = draw.fabric(chance, each.nodes, kinds, racks_known=each.racks_known)
        there, answer = draw.planted(fabric), rule(fabric)
        hits = len(there & answer.named)
        found[name] = Counter(
            hits=hits,
            named=len(answer.named),
            there=len(there),
            right=int(there == answer.named),
            rounds=answer.rounds,
        )
    return found


def _rows(found: Sequence[dict[str, Counter[str]]]) -> Iterator[str]:
    for name in RULES:
        counts, draws = sum((each[name] for each in found), Counter[str]()), len(found)
        most = max(each[name]["rounds"] for each in found)
        shares = (_percent(counts["hits"], counts[of]) for of in ("named", "there"))
        rounds = f"{counts['rounds'] / draws:.1f} ({most})"
        right = f"{counts['right']} ({_percent(counts['right'], draws)})"
        yield " | ".join([name, f"{draws}", right, *shares, rounds])


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


if __name__ == "__main__":
    main()
