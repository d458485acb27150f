"""The watched object stores, each given as a URL: whether a small object can be put and got again."""

import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from sentinel.checks._volume_pool import Pool, Volume, is_store, trial_name
from sentinel.model.check import Check, Machine, Series, series
from sentinel.model.finding import Finding, Health, skipped

CHILD = (sys.executable, "-I", str(Path(__file__).with_name("_store_child.py")))
TRY_EVERY_S = 300.0
"""A store is asked for money: an object a node each five minutes is some cents a month."""
HUNG_S = 120.0
"""A driver tries again by itself: botocore waits 60 s for an answer before it does."""
FAILS = 2
"""So many tries in a row have to fail: S3 asks its users to try again what it could not do."""
SLOW_S = 5.0
"""A few kilobytes take tens of milliseconds."""
SLOW_TRIES = 3
ONE_LOOK_S = 8.0
"""Somebody who looks only once waits so long for what comes of a try: a driver takes seconds to load."""


def measure(machine: Machine) -> tuple[Volume, ...]:
    """Try each store through a child: one that does not answer delays nobody."""
    stores = [each for each in machine.disks if is_store(each)]
    return _pool(machine.node).look(stores, 0.0 if machine.kept else ONE_LOOK_S)


@cache
def _pool(node: str) -> Pool:
    return Pool(lambda _: trial_name(node), command=CHILD, every_s=TRY_EVERY_S)


def judge(stores: Sequence[Volume]) -> Iterator[Finding]:
    """One finding for each thing that is wrong; of one that has not answered yet what was known stands."""
    if not stores:
        yield skipped("stores", "no volume is given as a URL")
    for store in stores:
        yield from _judge(store)


def _judge(store: Volume) -> Iterator[Finding]:
    where, answer, tried = shown(store.path), store.answer, store.tried
    if answer is not None and answer.missing:
        said = f"{where} can't be tried here: {answer.missing}"
        yield Finding("stores", "not-applicable", f"store:{where}", Health.SKIPPED, said)
        return
    if store.waits_s >= HUNG_S:
        said = f"{where} does not answer"
        yield _finding(where, "store-failed", Health.CRITICAL, said, waits_s=round(store.waits_s, 1))
        return
    why = store.error or (answer.error if answer else "it has not answered yet")
    if why or (tried and tried[-1].refused):
        said = f"{where} can't be tried: {why or tried[-1].refused}"
        yield _finding(where, "store-unreadable", Health.UNKNOWN, said)
    newest = tried[-FAILS:]
    if len(newest) == FAILS and all(each.failed for each in newest):
        yield _finding(where, "store-failed", Health.CRITICAL, f"{where} fails: {newest[-1].failed}")
    times = [(each.write_s or 0.0) + (each.read_s or 0.0) for each in tried]
    if len(times) >= SLOW_TRIES and min(times) > SLOW_S:
        said = f"{where} has been slow for a quarter of an hour"
        yield _finding(where, "store-slow", Health.WARNING, said, seconds=round(times[-1], 2))


def _finding(where: str, code: str, health: Health, said: str, **evidence: float) -> Finding:
    return Finding("stores", code, f"store:{where}", health, said, evidence)


def shown(url: str) -> str:
    """Give a URL without the user and password that may stand in it, nor what follows a `?`."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def metrics(stores: Sequence[Volume]) -> dict[Series, float]:
    """How long the newest try took, and for how long a store has not answered."""
    gauges: dict[Series, float] = {}
    for store in stores:
        url, newest = shown(store.path), store.tried[-1] if store.tried else None
        gauges[series("store_waits_seconds", url=url)] = store.waits_s
        if newest and newest.write_s is not None and newest.read_s is not None:
            gauges[series("store_put_seconds", url=url)] = newest.write_s
            gauges[series("store_get_seconds", url=url)] = newest.read_s
    return gauges


CHECK = Check(
    "stores",
    every=10.0,
    deadline=15.0,
    measure=measure,
    judge=judge,
    causes=("store-failed",),
    metrics=metrics,
    of_this_host=True,
)
