"""What the numbers are called that metrics give for health, and what labels can say."""

from typing import get_args

from sentinel import checks, runbooks
from sentinel.dashboards.look import BAD, GOOD, NOTICE, QUIET, Words
from sentinel.model.fact import Fact

HEALTH: Words = {0: ("ok", GOOD), 1: ("unknown", QUIET), 2: ("warning", NOTICE), 3: ("critical", BAD)}
"""Of `node_health` and `gpu_health`."""
CHECKS = sorted({*checks.load(), *checks.load_collective()})
CAUSES = sorted(runbooks.load(own=None))
FACTS = sorted(each.__name__ for each in get_args(Fact))
