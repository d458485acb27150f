"""What the numbers are called that metrics give for health."""

from sentinel.dashboards.look import BAD, GOOD, NOTICE, QUIET, Words

HEALTH: Words = {0: ("ok", GOOD), 1: ("unknown", QUIET), 2: ("warning", NOTICE), 3: ("critical", BAD)}
"""Of `node_health` and `gpu_health`."""
