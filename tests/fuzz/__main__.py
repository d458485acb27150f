"""Feeds everything that takes bytes with damaged and absurd ones, and prints what became of it.

`python -m tests.fuzz [--inputs 100000] [--seed 1] [TARGET…]`: exit 1 if an input ended a process.
"""

import argparse
import sys

from tests.fuzz.run import Outcome, run
from tests.fuzz.targets import TARGETS


def main() -> None:
    """Run the targets one after the other."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000, help="of each target")
    parser.add_argument("--seed", default="1", help="another one makes other inputs")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"all, or some of: {', '.join(TARGETS)}")
    arguments = parser.parse_args()
    for name in arguments.targets:
        if name not in TARGETS:
            parser.error(f"no target {name!r}: known are {', '.join(TARGETS)}")
    columns = f"{'inputs':>10}{'refused':>10}{'accepted':>10}{'longest':>12}{'ended':>8}"
    print(f"{'target':16}{columns}", flush=True)
    ended = 0
    for name in arguments.targets or TARGETS:
        outcome = run(name, f"tests.fuzz.targets.{TARGETS[name]}", arguments.inputs, arguments.seed)
        print(_row(outcome), flush=True)
        ended += len(outcome.ends)
    sys.exit(1 if ended else 0)


def _row(outcome: Outcome) -> str:
    count = outcome.count
    longest = f"{count.longest_s * 1e3:.1f} ms"
    row = f"{outcome.name:16}{count.next:10}{count.refused:10}{count.accepted:10}{longest:>12}"
    return "\n".join([f"{row}{len(outcome.ends):8}", *(f"    {end}" for end in outcome.ends)])


if __name__ == "__main__":
    main()
