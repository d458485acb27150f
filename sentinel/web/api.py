"""The control API: reading is open, every command has shown the token on admission."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import APIRouter, HTTPException, Response
from pydantic import BaseModel, ConfigDict, Field

from sentinel.core.commands import LONGEST_SILENCE_S, CommandName
from sentinel.logbook.row import Row
from sentinel.logbook.search import QueryError
from sentinel.model.codec import to_plain
from sentinel.model.judgement import NOT_CAUSE, NOT_NODE
from sentinel.model.report import MOST_LINES
from sentinel.redact import redact
from sentinel.web.desk import Desk
from sentinel.web.query import bounded
from sentinel.web.verdict import verdict
from sentinel.web.view import (
    AskedProbe,
    Command,
    Commander,
    CommandRefusedError,
    LogReader,
    Prober,
    Status,
    View,
    current,
)

NEED_NONE = frozenset({"stop-actions", "resume-actions", "retire"})
NEED_TIME = frozenset({"silence", "maintain"})
NEED_REASON = frozenset({NOT_NODE, NOT_CAUSE})

MOST_ROWS = 1000
"""Newest rows of the logbook in one answer; who wants older ones searches for them."""
MOST_WORDS = 1000
"""Characters of a row\'s words."""


class CommandBody(BaseModel):
    """The body of every command."""

    model_config = ConfigDict(extra="forbid")

    target: str = Field(default="", max_length=200)
    who: str = Field(default="operator", min_length=1, max_length=100)
    reason: str = Field(default="", max_length=500)
    for_s: float = Field(default=0.0, ge=0.0, le=LONGEST_SILENCE_S, allow_inf_nan=False)
    once: bool = False


class ProbeBody(BaseModel):
    """The body of a probe that an operator asks for."""

    model_config = ConfigDict(extra="forbid")

    check: str = Field(min_length=1, max_length=200)
    nodes: tuple[str, ...] = ()
    who: str = Field(default="operator", min_length=1, max_length=100)
    disturb: bool = False


class LogsBody(BaseModel):
    """The body of the question for a node's logs, which is none that everybody may ask."""

    model_config = ConfigDict(extra="forbid")

    node: str = Field(min_length=1, max_length=200)
    lines: int = Field(ge=1, le=MOST_LINES)
    """Of each log."""


def router(
    desk: Desk, command: Commander, prober: Prober | None = None, logs: LogReader | None = None
) -> APIRouter:
    """Build the routes under `/api`."""
    api = APIRouter(prefix="/api")
    if prober is not None:
        _probes(api, desk, prober)
    if logs is not None:
        _logs(api, desk, logs)

    @api.get("/status")
    async def status() -> Response:
        return _json(await desk.of_status(as_json))

    @api.get("/answer")
    async def answer() -> Response:
        return _json(await desk.of_status(_answer))

    @api.get("/why/{name}")
    async def why(name: str) -> Response:
        reasons = await desk.look(lambda: desk.view.why(name))
        if reasons is None:
            raise HTTPException(404, f"no node, job or open incident {name[:200]!r}")
        return _json(
            as_json({"object": name, "reasons": [{"kind": k, "text": redact(t)} for k, t in reasons]})
        )

    @api.get("/incidents")
    async def incidents(q: str = "") -> Response:
        query, status = bounded(q), await desk.status()
        try:
            return _json(await desk.read(lambda: _found(status, desk.view.search(query))))
        except QueryError as error:
            raise HTTPException(400, str(error)) from None

    @api.get("/incidents/{name:path}")
    async def incident(name: str) -> Response:
        status = await desk.status()
        found = await desk.read(lambda: _one(status, desk.view, name))
        if found is None:
            raise HTTPException(404, f"no incident {name[:200]!r}: `sentinel incidents` lists them")
        return _json(found)

    @api.post("/{name}")
    async def post(name: CommandName, body: CommandBody) -> dict[str, str]:
        _check(name, body)
        try:
            asked = Command(name, body.target, body.who, body.reason, body.for_s, body.once)
            done = await desk.command(command(asked))
        except CommandRefusedError as refusal:
            raise HTTPException(409, str(refusal)) from None
        return {"done": done}

    return api


def _probes(api: APIRouter, desk: Desk, prober: Prober) -> None:
    """Let operators have nodes measure together, and see how far that is."""

    @api.post("/probe")
    async def begin(body: ProbeBody) -> Response:
        asked = AskedProbe(body.check, body.nodes, body.who, body.disturb)
        try:
            return _json(as_json(await desk.command(prober.begin(asked))))
        except CommandRefusedError as refusal:
            raise HTTPException(409, str(refusal)) from None

    @api.get("/baselines")
    async def baselines() -> Response:
        return _json(as_json(await desk.look(prober.baselines)))

    @api.get("/probe/{name}")
    async def probe(name: str) -> Response:
        view = await desk.look(lambda: prober.view(name))
        if view is None:
            raise HTTPException(404, f"no probe {name[:200]!r} is known: a controller that is new knows none")
        return _json(as_json(view))


def _logs(api: APIRouter, desk: Desk, logs: LogReader) -> None:
    """Let operators, who have the token, read what the processes of a node have written."""

    @api.post("/logs")
    async def read(body: LogsBody) -> Response:
        try:
            texts = await desk.command(logs(body.node, body.lines))
        except CommandRefusedError as refusal:
            raise HTTPException(409, str(refusal)) from None
        found = (text.partition("\n") for text in texts)
        rows = [{"of": of, "text": text} for of, _, text in found]
        return _json(as_json({"node": body.node, "logs": rows}))


def _check(name: str, body: CommandBody) -> None:
    if name not in NEED_NONE and not body.target:
        raise HTTPException(422, f"{name} needs a target")
    if name in NEED_TIME and not body.for_s:
        raise HTTPException(422, f"{name} needs for_s, how many seconds it lasts")
    if name in NEED_REASON and not body.reason.strip():
        raise HTTPException(422, f"{name} needs a reason")


def as_json(value: Any) -> bytes:
    """Give JSON, which has no NaN: such a loss becomes null. Half a character is spelled out."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_whole(to_plain(value)))


def _answer(status: Status) -> bytes:
    """Give what the status page says first."""
    return as_json({"cluster": status.cluster, **dataclasses.asdict(verdict(status))})


def _found(status: Status, rows: Sequence[Row]) -> bytes:
    shown = [*map(_short, current(status, rows[:MOST_ROWS]))]
    return as_json({"open": status.incidents, "logbook": shown})


def _short(row: Row) -> Row:
    return dataclasses.replace(row, words=row.words[:MOST_WORDS])


def _one(status: Status, view: View, name: str) -> bytes | None:
    """Give all of one incident: as it stands while it is open, its row, and its entry as Markdown."""
    opened = next((each for each in status.incidents if each.incident == name), None)
    entry = view.entry(name)
    if entry is None and opened is None:
        return None
    row = view.row(name) if entry is not None else None
    rows = [*map(_short, current(status, [row] if row else []))]
    return as_json({"now": status.now, "open": opened, "logbook": rows[0] if rows else None, "entry": entry})


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json")


def _whole(plain: Any) -> Any:
    if isinstance(plain, str):
        return plain.encode(errors="backslashreplace").decode()
    if isinstance(plain, list | tuple):
        return [_whole(item) for item in plain]
    if isinstance(plain, dict):
        return {_whole(key): _whole(item) for key, item in plain.items()}
    return plain
