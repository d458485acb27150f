"""Draw fabrics with faults and count what the pair check names: `python -m benchmarks.localise`."""

import argparse
import json
import os
import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import zip_longest
from multiprocessing import Pool
from pathlib import Path
from typing import NamedTuple

from benchmarks.localise import draw
from benchmarks.localise.dlrover import two_rounds
from benchmarks.localise.ours import sentinel

RULES = {"sentinel": sentinel, "two rounds": two_rounds}
MIXED = "1 to 4 mixed"
KINDS = ("none", *draw.KINDS, MIXED)
Z = 1.96
"""Of a normal distribution, so that 95% lie within."""


class Draw(NamedTuple):
    """One fabric: everything follows from it."""

    kind: str
    nodes: int
    racks_known: bool
    seed: int


Found = dict[str, Counter[str]]
"""What each rule named rightly and wrongly."""


def main() -> None:
    """Print a Markdown table: one row for each kind of fault and rule."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=200, help="of each kind")
    parser.add_argument("--nulls", type=int, default=1000, help="fabrics in which there is nothing")
    parser.add_argument("--nodes", type=int, default=512)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--racks", nargs="+", choices=("known", "unknown"), default=("known", "unknown"))
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument(
        "--lane", type=_lane, default=(0, 1), metavar="K/N", help="only every N-th seed, from K on"
    )
    parser.add_argument("--first", type=int, default=0, help="the first seed of each kind")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after so long")
    parser.add_argument("--results", type=Path, help="add each draw to this file; those in it are not drawn")
    options = parser.parse_args()
    done = dict(_read(options.results)) if options.results and options.results.exists() else {}
    lane, lanes = options.lane
    left = [each for each in _wanted(options) if each.seed % lanes == lane and each not in done]
    until = time.monotonic() + options.seconds
    with Pool(options.processes) if options.processes > 1 else nullcontext() as pool:
        for each, found in pool.imap_unordered(_judged, left) if pool else map(_judged, left):
            done[each] = found
            if options.results:
                with options.results.open("a") as file:
                    file.write(json.dumps([each, found]) + "\n")
            if time.monotonic() > until:
                break
    print("\n".join(_table(done)))


def _lane(text: str) -> tuple[int, int]:
    """Give which lane, from 0, of how many."""
    lane, _, lanes = text.partition("/")
    if not (lane.isdecimal() and lanes.isdecimal() and 1 <= int(lane) <= int(lanes)):
        raise argparse.ArgumentTypeError(f"{text} is no lane: give K/N, K from 1 to N")
    return int(lane) - 1, int(lanes)


def _wanted(options: argparse.Namespace) -> Iterator[Draw]:
    """Give the draws of all kinds by turns: however few are made, there are some of each."""
    kinds = [
        [
            Draw(kind, options.nodes, racks == "known", seed)
            for seed in range(
                options.first, options.first + (options.nulls if kind == "none" else options.draws)
            )
        ]
        for racks in options.racks
        for kind in options.kinds
    ]
    for turn in zip_longest(*kinds):
        yield from filter(None, turn)


def _read(results: Path) -> Iterator[tuple[Draw, Found]]:
    for line in results.read_text().splitlines():
        each, found = json.loads(line)
        yield Draw(*each), {name: Counter(counts) for name, counts in found.items()}


def _judged(each: Draw) -> tuple[Draw, Found]:
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
        found[name] = Counter(
            hits=len(there & answer.named),
            named=len(answer.named),
            there=len(there),
            right=int(there == answer.named),
            blamed=int(bool(answer.named - there)),
            rounds=answer.rounds,
        )
    return each, found


def _table(done: Mapping[Draw, Found]) -> Iterator[str]:
    heads = "racks", "fault", "rule", "draws", "right", "95%", "blamed good ones", "95%"
    yield f"| {' | '.join(heads)} | precision | recall | rounds, mean (most) |"
    yield f"|{'---|' * (len(heads) + 3)}"
    rows: dict[tuple[str, str], list[Found]] = defaultdict(list)
    for each, found in done.items():
        rows["known" if each.racks_known else "unknown", each.kind].append(found)
        if each.kind not in ("none", "intermittent"):
            rows["known" if each.racks_known else "unknown", "any that lasts, or mixed"].append(found)
    order = [*KINDS, "any that lasts, or mixed"]
    for racks, kind in sorted(rows, key=lambda row: (row[0], order.index(row[1]))):
        for row in _rows(rows[racks, kind]):
            yield f"| {racks} | {kind} | {row} |"


def _rows(found: Sequence[Found]) -> Iterator[str]:
    for name in RULES:
        counts, draws = sum((each[name] for each in found), Counter[str]()), len(found)
        most = max(each[name]["rounds"] for each in found)
        shares = (_percent(counts["hits"], counts[of]) for of in ("named", "there"))
        rounds = f"{counts['rounds'] / draws:.1f} ({most})"
        sure = [
            cell
            for what in ("right", "blamed")
            for cell in (f"{counts[what]} ({_percent(counts[what], draws)})", _bounds(counts[what], draws))
        ]
        yield " | ".join([name, f"{draws}", *sure, *shares, rounds])


def _bounds(part: int, whole: int) -> str:
    """Give between which shares the true one lies in 95 of 100 samples (Wilson's interval)."""
    share, weight = part / whole, Z * Z / whole
    middle = (share + weight / 2) / (1 + weight)
    half = Z / (1 + weight) * (share * (1 - share) / whole + weight / whole / 4) ** 0.5
    return f"{100 * max(0.0, middle - half):.2f}-{100 * min(1.0, middle + half):.2f}%"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


if __name__ == "__main__":
    main()
