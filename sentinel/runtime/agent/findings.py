"""What an agent has told about its node's findings, so that it tells only changes."""

import contextlib
import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from sentinel.model.finding import Finding, Health
from sentinel.model.wire import WireError, from_plain, to_plain

UNREADABLE = "-unreadable"
"""How the code of a finding ends that says: nothing is known about this component now."""


class FindingBook:
    """The last told finding per key. It lies in a file, so that the next agent clears what has passed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told: dict[tuple[str, str, str], Finding] = {each.key: each for each in _load(path)}

    def update(self, check: str, findings: Iterable[Finding], *, blind: bool = False) -> list[Finding]:
        """Take one probe's findings; give what is new, changed or (health ok) no longer found.

        `blind`: the probe failed and speaks only of itself. What was told of something unseen stands.
        """
        found = list(findings)
        unseen = {each.component for each in found if each.code.endswith(UNREADABLE)}
        said = {each.key for each in found}
        mine = [told for told in self._told.values() if told.check == check and told.key not in said]
        found += [told for told in mine if blind or told.component in unseen]
        news = [each for each in found if each.event or self._is_news(each)]
        states = {each.key: each for each in found if not each.event}
        cleared = [
            dataclasses.replace(told, health=Health.OK, summary=f"cleared: {told.summary}")
            for key, told in self._told.items()
            if told.check == check and key not in states
        ]
        if any(not each.event for each in news) or cleared:
            self._keep(check, states.values())
        return news + cleared

    def _is_news(self, finding: Finding) -> bool:
        told = self._told.get(finding.key)
        if told is None:
            return finding.health is not Health.OK
        return (told.health, told.summary) != (finding.health, finding.summary)

    def _keep(self, check: str, states: Iterable[Finding]) -> None:
        others = {key: told for key, told in self._told.items() if told.check != check}
        self._told = others | {each.key: each for each in states if each.health is not Health.OK}
        draft = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full memory directory must not end the watching
            draft.write_text(json.dumps(to_plain(list(self._told.values()))))
            draft.replace(self._path)

    def stands(self, check: str, code: str) -> bool:
        """Say whether such a finding was told and has not passed."""
        return any((told.check, told.code) == (check, code) for told in self._told.values())

    def standing(self) -> tuple[Finding, ...]:
        """Every finding that is not ok now."""
        return tuple(self._told.values())


def _load(path: Path) -> list[Finding]:
    """Read what the agent before told; a damaged file is as good as none: findings are told again."""
    try:
        return list(from_plain(list[Finding], json.loads(path.read_text())))
    except (OSError, ValueError, WireError):
        return []
