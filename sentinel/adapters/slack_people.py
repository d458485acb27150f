"""Who may press: the members of named user groups, asked for again each minute; unknown is nobody."""

import threading
import time
from collections.abc import Sequence

from sentinel.adapters.slack_api import SlackApi, SlackError
from sentinel.model.ids import Seconds

GOOD_FOR: Seconds = 60.0
"""How long somebody who has left a group may still press."""
LOOKS_FOR: Seconds = 10.0
"""All calls together."""
FOR_A_FORM: Seconds = 2.0
"""The same before a form, which has to be opened within three seconds."""


class People:
    """The members of some user groups. Calls block, and may come from several threads."""

    def __init__(self, api: SlackApi, groups: Sequence[str]) -> None:
        """`groups` are handles or ids."""
        self._api, self._groups = api, [each.removeprefix("@") for each in groups]
        self._lock = threading.Lock()
        self._members: frozenset[str] = frozenset()
        self._good_until = 0.0

    def may_press(self, user: str, within: Seconds = LOOKS_FOR) -> bool:
        """Say whether somebody is in one of the groups. Raises SlackError if that can't be known in time."""
        with self._lock:
            if time.monotonic() >= self._good_until:
                self._members = self._asked(time.monotonic() + within)
                self._good_until = time.monotonic() + GOOD_FOR
            return user in self._members

    def _asked(self, until: float) -> frozenset[str]:
        found = self._api.call("usergroups.list", form=True, until=until).get("usergroups")
        ids = {str(name): str(each.get("id")) for each in _dicts(found) for name in _names(each)}
        if missing := [each for each in self._groups if each not in ids]:
            raise SlackError(f"there is no user group {missing[0]!r} (pages.slack_groups)", permanent=True)
        members = set[str]()
        for group in self._groups:
            answer = self._api.call("usergroups.users.list", form=True, until=until, usergroup=ids[group])
            users = answer.get("users")
            if not isinstance(users, list):
                raise SlackError("an answer without users")
            members.update(each for each in users if isinstance(each, str))
        return frozenset(members)


def _dicts(found: object) -> list[dict[str, object]]:
    if not isinstance(found, list):
        raise SlackError("an answer without usergroups")
    return [each for each in found if isinstance(each, dict)]


def _names(group: dict[str, object]) -> list[object]:
    return [name for name in (group.get("handle"), group.get("id")) if name]
