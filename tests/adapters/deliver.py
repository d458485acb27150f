"""A process that delivers what its outbox holds, to be killed: deliver.py OUTBOX API OUTCOMES."""

import asyncio
import sys
from pathlib import Path

from sentinel.adapters.outbox import Outbox, Timing
from sentinel.adapters.slack import Slack

outbox_path, api, outcomes = sys.argv[1:]


def delivered(action: str, ok: bool, detail: str, where: str) -> None:
    with Path(outcomes).open("a") as file:
        file.write(f"{action} {ok} {where}\n")


outbox = Outbox(outbox_path, delivered, Timing(first_retry=0.1, longest_retry=0.3, fallback_after=60))
asyncio.run(outbox.run([Slack("xoxb-test", "C1", base_url=api, timeout=30)]))
