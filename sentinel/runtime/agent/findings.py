"""What an agent has told about its node's findings, so that it tells only changes, and each event once."""

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from msgspec.structs import replace

from sentinel import private
from sentinel.model.codec import MESSAGE_BYTES, from_plain, to_plain
from sentinel.model.finding import Finding, Health
from sentinel.model.ids import Seconds
from sentinel.runtime.agent.bursts import Burst, Bursts

UNREADABLE = "-unreadable"
"""How the code of a finding ends that says: nothing is known about this component now."""
Key: TypeAlias = tuple[str, str, str]


class FindingBook:
    """The last reported finding per key. It lies in a file, so that the next agent clears what has passed.

    The file also says of which findings the controller may not have heard that they came, changed or passed:
    the next agent reports those again, as it finds them. Events it counts on from where they were when all
    had been heard, for it reads the kernel log again from there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reported, self._unheard, self._heard, self._journal = _load(path)
        self._bursts = Bursts(self._heard)
        self._changes = 0
        self._reported |= self._unheard
        self._doubtful = set(self._unheard)
        """What the last agent reported and this one has not reported yet."""

    def update(
        self, check: str, findings: Iterable[Finding], now: Seconds, *, blind: bool = False
    ) -> list[Finding]:
        """Take one probe's findings; give what is new, changed, counted or (health ok) no longer found.

        `now` goes on evenly over all agents of this boot. `blind`: the probe failed and speaks only of
        itself. What was reported of something unseen stands.
        """
        found = list(findings)
        unseen = {each.component for each in found if each.code.endswith(UNREADABLE)}
        said = {each.key for each in found}
        mine = [known for known in self._reported.values() if known.check == check and known.key not in said]
        stays = [known for known in mine if blind or known.component in unseen]
        cleared = [
            replace(known, health=Health.OK, summary=f"cleared: {known.summary}")
            for known in mine
            if known not in stays
        ]
        ended = [known for each in found if each.event for known in self._bursts.take(each, now)]
        news = [each for each in found if not each.event and self._is_news(each)]
        if changed := [*news, *cleared]:
            self._keep(check, [*(each for each in found if not each.event), *stays], changed)
        return [*changed, *ended, *self._bursts.due(now, check)]

    def counted(self, now: Seconds, *, at_once: bool = False) -> list[Finding]:
        """Give the events that came again and whose count is due to be reported; `at_once`: every one."""
        return self._bursts.due(now, at_once=at_once)

    def _is_news(self, finding: Finding) -> bool:
        known = self._reported.get(finding.key)
        if known is None:
            return finding.health is not Health.OK
        shown = (known.health, known.summary)
        return finding.key in self._doubtful or shown != (finding.health, finding.summary)

    def _keep(self, check: str, states: Iterable[Finding], changed: Iterable[Finding]) -> None:
        """Keep what is reported now, and as unheard what changed: of what passed, that it was there."""
        before = self._reported
        others = {key: known for key, known in before.items() if known.check != check}
        self._reported = others | {each.key: each for each in states if each.health is not Health.OK}
        for each in changed:
            self._unheard[each.key] = self._reported.get(each.key) or before[each.key]
            self._doubtful.discard(each.key)
        self._write()

    def meet(self, journal: str) -> list[Finding]:
        """Give every state that a controller with another journal than the last one has to hear again.

        Events are past: what a lost journal held of them is lost.
        """
        if not journal or journal == self._journal:
            return []
        told = {key: known for key, known in self._reported.items() if key not in self._doubtful}
        again = told if self._journal else {}  # the first one hears all anyway
        self._journal = journal
        self._unheard |= again
        self._write()
        return [*again.values()]

    def settle(self) -> None:
        """The controller has heard everything that this agent reported."""
        unheard = {key: known for key, known in self._unheard.items() if key in self._doubtful}
        if unheard != self._unheard or self._bursts.changes != self._changes:
            self._unheard, self._heard = unheard, [*self._bursts.kept()]
            self._changes = self._bursts.changes
            self._write()

    def _write(self) -> None:
        plain = {
            "journal": self._journal,
            "reported": [*self._reported.values()],
            "unheard": [*self._unheard.values()],
            "bursts": self._heard,
        }
        with contextlib.suppress(OSError):  # a full memory directory must not end the watching
            private.write(self._path, json.dumps(to_plain(plain)).encode())

    def stands(self, check: str, code: str) -> bool:
        """Say whether this agent reported such a finding, or found it reported, and it has not passed."""
        return any(
            (known.check, known.code) == (check, code)
            for key, known in self._reported.items()
            if key not in self._doubtful
        )

    def standing(self) -> tuple[Finding, ...]:
        """Every finding that is not ok now."""
        return tuple(self._reported.values())


def _load(path: Path) -> tuple[dict[Key, Finding], dict[Key, Finding], list[Burst], str]:
    """Read what the agent before reported; a damaged file is as good as none: findings are reported again."""
    try:
        plain = json.loads(private.read(path, MESSAGE_BYTES))
        known, unheard = (from_plain(list[Finding], plain[name]) for name in ("reported", "unheard"))
        bursts = from_plain(list[Burst], plain.get("bursts", []))
        journal = from_plain(str, plain.get("journal", ""))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return {}, {}, [], ""
    return {each.key: each for each in known}, {each.key: each for each in unheard}, bursts, journal
