"""Slack's Socket Mode: a connection that we open, kept open with growing pauses, and what comes over it."""

import logging
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slack_sdk.errors import SlackApiError
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.socket_mode.websocket_client import (
    SocketModeClient,
)  # its own one does not see an end for 20 s
from slack_sdk.web import WebClient

from sentinel.model.ids import Seconds
from sentinel.redact import redact
from sentinel.terminal_text import one_line

REFUSED = frozenset(
    {
        "invalid_auth",
        "not_authed",
        "token_expired",
        "token_revoked",
        "account_inactive",
        "not_allowed_token_type",
        "no_permission",
        "missing_scope",
        "org_login_required",
        "team_access_not_granted",
    }
)
"""Errors that a person has to mend."""
FIRST_PAUSE, LONGEST_PAUSE, REFUSED_PAUSE = 0.5, 60.0, 60.0
"""Seconds between two tries: doubles with each failure; after a refusal."""
STABLE: Seconds = 10.0
"""A connection that held for so long ends the failures before it."""
LOOKS_EVERY: Seconds = 0.1
OPENS_WITHIN: Seconds = 20.0
PING_EVERY, ANSWERS_WITHIN = 10.0, 25.0
"""Seconds between pings; a connection on which none is answered for so long has ended."""
ASKS_FOR = 10
"""Seconds for one call of Slack's Web API."""
WORKERS = 8
"""Events that are looked at side by side: one that is slow delays no other."""
MOST_KNOWN = 4096
_REASON_CHARS = 200


@dataclass(frozen=True, slots=True)
class Told:
    """How the connection is: `connected`, `down`, or `refused`, which a person has to mend; and why."""

    state: str
    why: str = ""


class Socket:
    """One app's connection. `heard` gets each event once, in a thread of several."""

    def __init__(
        self,
        app_token: str,
        base_url: str,
        heard: Callable[[str, dict[str, Any]], None],
        told: Callable[[Told], None],
    ) -> None:
        """`heard` is called with an envelope's type and payload; `told` when the connection changes."""
        quiet = logging.getLogger("sentinel.slack-sdk")
        quiet.disabled = True  # it logs addresses that hold tickets; what matters is told here
        logging.getLogger("websocket").setLevel(logging.CRITICAL)
        web = WebClient(base_url=base_url.rstrip("/") + "/", timeout=ASKS_FOR, logger=quiet)
        self._heard, self._told, self._known = heard, told, dict[str, None]()
        self._lock, self._open, self._failed = threading.Lock(), threading.Event(), threading.Event()
        self._why = ""
        self._client = SocketModeClient(
            app_token,
            web_client=web,
            logger=quiet,
            auto_reconnect_enabled=False,
            ping_interval=PING_EVERY,
            concurrency=WORKERS,
            on_open_listeners=[self._opened],
            on_error_listeners=[self._complains],
            on_close_listeners=[self._closed],
        )
        self._client.socket_mode_request_listeners.append(self._listen)

    def run(self) -> None:
        """Keep the connection open for ever."""
        failures = 0
        while True:
            began, self._why = time.monotonic(), ""
            if (state := self._connect()) is None:
                self._told(Told("connected"))
                self._wait()
                failures = 0 if time.monotonic() - began > STABLE else failures
                state = Told("down", self._why or "the connection ended")
            failures += 1
            self._told(state)
            time.sleep(_pause(state, failures))

    def _connect(self) -> Told | None:
        """Connect anew; says why not."""
        self._open.clear()
        self._failed.clear()
        try:
            self._client.connect_to_new_endpoint(force=True)
        except SlackApiError as error:
            code = one_line(str(error.response.get("error", "")))[:_REASON_CHARS]
            return Told("refused" if code in REFUSED else "down", f"apps.connections.open: {code}")
        except Exception as error:  # whatever the library makes of networks and of nonsense
            return Told("down", _reason(error))
        until = time.monotonic() + OPENS_WITHIN
        while not self._open.wait(LOOKS_EVERY):
            if self._failed.is_set() or time.monotonic() > until:
                return Told("down", self._why or f"not open within {OPENS_WITHIN:.0f} s")
        return None

    def _wait(self) -> None:
        """Return when the connection has ended, or answers no ping any more."""
        while self._open.is_set():
            time.sleep(LOOKS_EVERY)
            session = self._client.current_session
            if session is not None and session.last_ping_tm - session.last_pong_tm > ANSWERS_WITHIN:
                self._why = f"no answer for {ANSWERS_WITHIN:.0f} s"
                self._open.clear()

    def _is_current(self, session: object) -> bool:
        """Say whether it is not one that Slack had the library replace."""
        return session is self._client.current_session

    def _opened(self, session: Any) -> None:
        if self._is_current(session):
            # As if it had answered: until the first ping nothing is overdue.
            session.last_ping_tm = session.last_pong_tm = time.time()
            self._open.set()

    def _complains(self, session: Any, error: Exception) -> None:
        if self._is_current(session):
            self._why = _reason(error)

    def _closed(self, session: Any) -> None:
        if self._is_current(session):
            self._client.current_session = None  # else the library opens the same address again and again
            self._open.clear()
            self._failed.set()

    def _listen(self, client: Any, request: SocketModeRequest) -> None:
        """Take an envelope, and say so at once: Slack waits three seconds."""
        client.send_socket_mode_response(SocketModeResponse(request.envelope_id))
        if self._is_new(request):
            self._heard(request.type, request.payload)

    def _is_new(self, request: SocketModeRequest) -> bool:
        """Say whether neither the envelope nor the press in it came before."""
        marks = [f"envelope {request.envelope_id}", *_presses(request.payload)]
        with self._lock:
            if any(mark in self._known for mark in marks):
                return False
            self._known.update(dict.fromkeys(marks))
            while len(self._known) > MOST_KNOWN:
                self._known.pop(next(iter(self._known)))
        return True


def _presses(payload: dict[str, Any]) -> list[str]:
    """Name the presses of a payload: Slack gives each action its own time."""
    actions, user = payload.get("actions"), payload.get("user")
    who = user.get("id") if isinstance(user, dict) else ""
    found = [each for each in actions if isinstance(each, dict)] if isinstance(actions, list) else []
    return [
        f"press {who} {each.get('action_id')} {each['action_ts']}" for each in found if "action_ts" in each
    ]


def _pause(told: Told, failures: int) -> Seconds:
    if told.state == "refused":
        return REFUSED_PAUSE
    doubled = min(FIRST_PAUSE * 2.0 ** min(failures - 1, 20), LONGEST_PAUSE)
    return doubled * random.uniform(0.5, 1.0)  # noqa: S311  jitter is no secret


def _reason(error: Exception) -> str:
    return one_line(redact(f"{type(error).__name__}: {error}"))[:_REASON_CHARS]
