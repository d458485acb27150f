"""A rank's own word on its collectives: torch's flight recorder, dumped by the rank when its agent asks.

An agent asks by a file beside the heartbeat record. The beat thread only looks whether it is there; another
thread reads the recorder, which has a lock and takes milliseconds. A rank that is stopped, or whose
interpreter is held, gives no answer, and that says nothing.
"""

import json
import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from sentinel import private

ASKED, SAID = ".asked", ".said"
DUMPS = ("_dump_nccl_trace_json", "_dump_fr_trace_json")
"""Of torch's recorders: that of NCCL, and that of gloo, from 2.9 on."""


def answer_if_asked(record: Path, since_ns: int) -> None:
    """Begin to answer if the agent asks: by the collectives since the rank took its place. Raises OSError."""
    asked = record.with_suffix(ASKED)
    if asked.exists():
        asked.unlink(missing_ok=True)
        threading.Thread(target=_answer, args=(record.with_suffix(SAID), since_ns), daemon=True).start()


def _answer(path: Path, since_ns: int) -> None:
    with suppress(OSError):
        private.write(path, json.dumps(newest(_entries(), since_ns)).encode())


def _entries() -> list[dict[str, Any]]:
    """Read the recorders of a torch that is loaded already; a program without it has none."""
    torch = sys.modules.get("torch")
    recorders = getattr(getattr(torch, "_C", None), "_distributed_c10d", None)
    found: list[dict[str, Any]] = []
    for name in DUMPS:
        dump = getattr(recorders, name, None)
        with suppress(RuntimeError, ValueError, TypeError, AttributeError):  # what another torch may say
            found += json.loads(dump()).get("entries", []) if dump else []
    return found


def newest(entries: Iterable[dict[str, Any]], since_ns: int) -> list[list[Any]]:
    """Give (group, what, number, whether it is in it) of each group's newest collective.

    A process that formed a new gang has had groups of these names before: what it entered then is left out.
    Two back ends of one group, as of `cpu:gloo,cuda:nccl`, count each for itself.
    """
    last: dict[str, list[Any]] = {}
    for entry in sorted(entries, key=lambda each: int(each.get("time_created_ns", 0))):
        if entry.get("is_p2p") or int(entry.get("time_created_ns", 0)) < since_ns:
            continue
        group, *_ = entry.get("process_group") or [""]
        is_in = not (entry.get("retired") or entry.get("state") == "completed")
        what, number = str(entry.get("profiling_name", "")), int(entry.get("collective_seq_id", 0))
        name = f"{group}:{what.partition(':')[0]}"
        last[name] = [name, what, number, is_in]
    return list(last.values())
