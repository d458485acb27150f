"""Rehearsing scenario files: play each, compare with what it expects, print."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sentinel.core.state import Rules
from sentinel.model.ids import Cause
from sentinel.model.policy import Policy
from sentinel.model.runbook import Runbook
from sentinel.rehearse.explain import Explainer
from sentinel.rehearse.play import Player
from sentinel.rehearse.reading import read
from sentinel.rehearse.rehearsal import rehearsal_of
from sentinel.rehearse.scenario import Scenario, ScenarioError
from sentinel.rehearse.verdict import Verdict, of, place

Books = Mapping[Cause, Runbook]


def rehearse(
    scenario: Scenario, policy: Policy, books: Books, *, own_policy: bool = True, explain: bool = False
) -> tuple[Verdict, list[str]]:
    """Play one scenario; gives what came out and, if asked for, the lines that explain it.

    `own_policy`: the numbers that the scenario names take the place of the policy's. Raises ScenarioError.
    """
    numbers = scenario.policy_on(policy) if own_policy else policy
    with rehearsal_of(scenario, Rules(numbers, books)) as rehearsal:
        rehearsal.warm_up()
        explainer = Explainer(rehearsal.controller, rehearsal.began)
        if explain:
            rehearsal.watched = explainer.watch
        Player(rehearsal).play()
        return of(rehearsal), explainer.lines


def scenarios(paths: Iterable[Path]) -> Iterator[Scenario]:
    """Read files, and all `.yaml` files of folders. Raises ScenarioError."""
    for path in paths:
        files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        if not files:
            raise ScenarioError(f"{path}: no .yaml file in this folder")
        for file in files:
            yield from read(file)


def plain(verdict: Verdict, explained: Iterable[str] = ()) -> dict[str, Any]:
    """Give a verdict as one JSON object; `expect` has what the file names."""
    expect = {key: value for key, value in msgspec.to_builtins(verdict.expect).items() if value is not None}
    plain: dict[str, Any] = msgspec.to_builtins(verdict) | {"expect": expect, "ok": verdict.ok}
    return plain | ({"explained": lines} if (lines := list(explained)) else {})


def as_json(verdict: Verdict, explained: Iterable[str] = ()) -> str:
    """Give a verdict as one line of JSON."""
    return json.dumps(plain(verdict, explained))


def as_text(scenario: Scenario, verdict: Verdict, explained: Iterable[str] = ()) -> Iterator[str]:
    """Say for people what would happen."""
    yield f"{'ok   ' if verdict.ok else 'WRONG'} {verdict.id}: {scenario.title}"
    yield from (f"      {line}" for line in explained)
    for incident in verdict.incidents:
        places = ", ".join(map(place, incident.suspects)) or "nobody"
        cause = incident.cause or "not diagnosed"
        yield f"      {incident.opened_s:.1f} s {cause} ({incident.stage}), blames {places}: {incident.why}"
    if verdict.order:
        yield f"      does: {', '.join(verdict.order)}"
    for refused in verdict.refused:
        yield f"      does not: {refused.what}, for {refused.why}"
    for page in verdict.pages:
        yield f"      pages at {page.at_s:.1f} s ({page.severity}): {page.title}"
    if not verdict.incidents:
        yield "      nothing happens"
    yield from (f"      ignored: {step}" for step in verdict.ignored)
    yield from (f"      wrong: {reason}" for reason in verdict.wrong)
    if not verdict.ok and scenario.right:
        yield f"      right would be: {scenario.right}"
    if not verdict.ok and scenario.waits_for:
        yield f"      waits for: {scenario.waits_for}"


def summary(verdicts: list[Verdict]) -> str:
    """Say in one line how many came out as expected."""
    wrong = [verdict.id for verdict in verdicts if not verdict.ok]
    as_expected = f"{len(verdicts) - len(wrong)} of {len(verdicts)} scenarios came out as expected"
    return as_expected + (f"; not: {', '.join(wrong)}" if wrong else "")
