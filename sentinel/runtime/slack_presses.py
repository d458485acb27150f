"""What people press and type in Slack: may they, what command is it, and what did it do."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from typing import Any

import structlog

from sentinel.adapters import slack_controls
from sentinel.adapters.http_post import post
from sentinel.adapters.page_channel import ChannelError
from sentinel.adapters.slack_api import SlackApi, SlackError
from sentinel.adapters.slack_controls import ASKS_WHY, FORM, REASON_CHARS, Carried
from sentinel.adapters.slack_message import escaped
from sentinel.adapters.slack_people import FOR_A_FORM, LOOKS_FOR, People
from sentinel.model.ids import HOUR_S, Seconds
from sentinel.model.judgement import JUDGEMENTS
from sentinel.terminal_text import one_line

OF_INCIDENT = frozenset({"ack", *JUDGEMENTS})
"""Commands whose target is the message's incident."""
PRESSABLE = frozenset({*OF_INCIDENT, "silence", "prove", "stop-actions", "resume-actions"})
"""What a press may command, whatever a message carries."""
FOR_S = {"silence": HOUR_S}
WITHIN: Seconds = 10.0
"""For one answer of the controller's, or of Slack's to a reply."""
MOST_BYTES, WHO_CHARS = 1 << 20, 100
USAGE = "`/sentinel status` says how the cluster is; the buttons below a page do the rest."

log = structlog.get_logger(logger_name="slack-link")


@dataclass(frozen=True, slots=True)
class Controller:
    """Whose child this is: the same door as the command line's."""

    host: str
    port: int
    token: str
    cluster: str
    journal: str

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Give status and document. Raises OSError or HTTPException when it does not answer."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        connection = HTTPConnection(self.host, self.port, timeout=WITHIN)
        try:
            connection.request(method, f"/api/{path}", None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            found = json.loads(answer.read(MOST_BYTES) or b"{}")
            return answer.status, found if isinstance(found, dict) else {}
        except ValueError as error:
            raise HTTPException(f"no JSON: {error}") from None
        finally:
            connection.close()


@dataclass(frozen=True, slots=True)
class Presser:
    """Who pressed, and where they read the answer."""

    id: str
    name: str
    channel: str = ""
    answer_url: str = ""

    @property
    def who(self) -> str:
        """As the journal has it: a name that people know, and the id that nobody can take."""
        known = f" (Slack {self.id})"
        return f"{one_line(self.name)[: WHO_CHARS - len(known)] or 'somebody'}{known}"


class Presses:
    """Takes Slack's events, side by side; nothing that is in one raises."""

    def __init__(
        self, controller: Controller, api: SlackApi, people: People, told: Callable[[str, str], None]
    ) -> None:
        """`told` hears what became of each press, and of which incident's message."""
        self._controller, self._api, self._people, self._told = controller, api, people, told

    def hear(self, kind: str, payload: dict[str, Any]) -> None:
        """Do what an event asks for."""
        try:
            match kind, payload.get("type"):
                case "interactive", "block_actions":
                    self._pressed(payload)
                case "interactive", "view_submission":
                    self._submitted(payload)
                case "slash_commands", _:
                    self._typed(payload)
        except Exception:  # a defect costs this press, not the next one
            log.exception("press-failed", kind=kind)

    def _pressed(self, payload: dict[str, Any]) -> None:
        found = (slack_controls.read(each.get("value")) for each in payload["actions"])
        carried = next((each for each in found if each is not None), None)
        if carried is None:
            return
        channel, user = payload.get("channel") or {}, payload["user"]
        name = user.get("username") or user.get("name") or ""
        presser = Presser(
            user["id"], name, str(channel.get("id", "")), str(payload.get("response_url") or "")
        )
        asks_why = carried.command in ASKS_WHY
        if not self._may(presser, carried, FOR_A_FORM if asks_why else LOOKS_FOR):
            return
        if asks_why:
            self._ask_why(carried, presser, str(payload.get("trigger_id", "")))
        else:
            self._command(carried, presser, "in Slack")

    def _submitted(self, payload: dict[str, Any]) -> None:
        view, user = payload["view"], payload["user"]
        form = slack_controls.read_form(view.get("private_metadata"))
        if view.get("callback_id") != FORM or form is None:
            return
        reason = str(view["state"]["values"]["reason"]["reason"].get("value") or "").strip()[:REASON_CHARS]
        presser = Presser(user["id"], user.get("username") or user.get("name") or "", form.channel)
        if self._may(presser, form.carried, LOOKS_FOR):
            self._command(form.carried, presser, reason)

    def _typed(self, payload: dict[str, Any]) -> None:
        url, channel = str(payload.get("response_url") or ""), str(payload.get("channel_id", ""))
        presser = Presser(str(payload["user_id"]), str(payload.get("user_name", "")), channel, url)
        if not self._is_member(presser):
            return
        asked = str(payload.get("text", "")).strip().lower()
        self._reply(presser, self._status() if asked in ("", "status") else USAGE)

    def _may(self, presser: Presser, carried: Carried, within: Seconds) -> bool:
        """Say whether somebody may press this; they are told why not."""
        home = self._controller
        if carried.cluster != home.cluster:
            why = f"This message is of the cluster {carried.cluster!r}, and its press came to"
            why += f" {home.cluster!r}: each cluster needs a Slack app of its own. Nothing was done."
        elif carried.journal != home.journal:
            why = "This message is of an earlier journal, which is gone. Nothing was done."
        elif carried.command not in PRESSABLE:
            why = f"{carried.command} can't be pressed. Nothing was done."
        else:
            return self._is_member(presser, carried.incident, within)
        self._refuse(presser, "refused", why, carried.incident)
        return False

    def _is_member(self, presser: Presser, incident: str = "", within: Seconds = LOOKS_FOR) -> bool:
        try:
            if self._people.may_press(presser.id, within):
                return True
            why = "You are in no user group that may do this (pages.slack_groups). Nothing was done."
        except SlackError as error:
            why = f"Who may do this can't be known now: {error}. Nothing was done; "
            why += "`sentinel` on the head node does it."
        self._refuse(presser, "not-allowed", why, incident)
        return False

    def _refuse(self, presser: Presser, result: str, why: str, incident: str) -> None:
        log.warning("press-refused", who=presser.who, incident=incident, why=why)
        self._told(result, incident)
        self._reply(presser, why)

    def _ask_why(self, carried: Carried, presser: Presser, trigger: str) -> None:
        try:
            self._api.call(
                "views.open", trigger_id=trigger, view=slack_controls.form(carried, presser.channel)
            )
        except SlackError as error:
            self._refuse(
                presser, "failed", f"Slack did not open the form: {error}. Press again.", carried.incident
            )

    def _command(self, carried: Carried, presser: Presser, reason: str) -> None:
        target = carried.incident if carried.command in OF_INCIDENT else carried.target
        body: dict[str, Any] = {"target": target, "who": presser.who, "reason": reason, "once": True}
        body["for_s"] = FOR_S.get(carried.command, 0.0)
        try:
            status, answer = self._controller.ask("POST", carried.command, body)
        except (OSError, HTTPException) as error:
            why = f"No controller answers: {one_line(str(error))}. See in the message whether it was done."
            self._refuse(presser, "failed", why, carried.incident)
            return
        if status != 200:
            self._refuse(presser, "refused", str(answer.get("error", f"HTTP {status}")), carried.incident)
            return
        log.info("pressed", who=presser.who, command=carried.command, target=target)
        self._told("done", carried.incident)
        self._reply(presser, f"Done: {answer.get('done', carried.command)}")

    def _status(self) -> str:
        try:
            status, answer = self._controller.ask("GET", "answer")
        except (OSError, HTTPException) as error:
            return f"No controller answers: {one_line(str(error))}"
        if status != 200:
            return str(answer.get("error", f"HTTP {status}"))
        home = f"http://{self._controller.host}:{self._controller.port}/"
        lines = [f"{answer['cluster']}: {answer['headline']}", *answer["details"], home]
        return "\n".join(map(str, lines))

    def _reply(self, presser: Presser, text: str) -> None:
        """Tell whoever pressed, and nobody else; that it can't be told changes nothing."""
        text = escaped(text)
        try:
            if presser.answer_url:
                self._post(
                    presser.answer_url,
                    {"response_type": "ephemeral", "replace_original": False, "text": text},
                )
            elif presser.channel:
                self._api.call("chat.postEphemeral", channel=presser.channel, user=presser.id, text=text)
        except ChannelError as error:
            log.warning("presser-not-told", who=presser.who, error=str(error))

    def _post(self, url: str, message: dict[str, Any]) -> None:
        """Post to an address that Slack gave. Raises ChannelError."""
        sent = post(url, headers={}, timeout=WITHIN, within=WITHIN, most=MOST_BYTES, json=message)
        status, _, _ = asyncio.run(sent)
        if status != 200:
            raise ChannelError(f"HTTP {status}")
