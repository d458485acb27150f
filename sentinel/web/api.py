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
from sentinel.redact import redact
from sentinel.web.desk import Desk
from sentinel.web.query import bounded
from sentinel.web.view import AskedProbe, Command, Commander, CommandRefusedError, Prober, Status, current

NEED_NONE = frozenset({"stop-actions", "resume-actions", "retire"})
NEED_TIME = frozenset({"silence", "maintain"})

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


class ProbeBody(BaseModel):
    """The body of a probe that an operator asks for."""

    model_config = ConfigDict(extra="forbid")

    check: str = Field(min_length=1, max_length=200)
    nodes: tuple[str, ...] = ()
    who: str = Field(default="operator", min_length=1, max_length=100)
    disturb: bool = False


def router(desk: Desk, command: Commander, prober: Prober | None = None) -> APIRouter:
    """Build the routes under `/api`."""
    api = APIRouter(prefix="/api")
    if prober is not None:
        _probes(api, desk, prober)

    @api.get("/status")
    async def status() -> Response:
        return _json(await desk.of_status(as_json))

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

    @api.post("/{name}")
    async def post(name: CommandName, body: CommandBody) -> dict[str, str]:
        _check(name, body)
        try:
            asked = Command(name, body.target, body.who, body.reason, body.for_s)
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

    @api.get("/probe/{name}")
    async def probe(name: str) -> Response:
        view = await desk.look(lambda: prober.view(name))
        if view is None:
            raise HTTPException(404, f"no probe {name[:200]!r} is known: a controller that is new knows none")
        return _json(as_json(view))


def _check(name: str, body: CommandBody) -> None:
    if name not in NEED_NONE and not body.target:
        raise HTTPException(422, f"{name} needs a target")
    if name in NEED_TIME and not body.for_s:
        raise HTTPException(422, f"{name} needs for_s, how many seconds it lasts")


def as_json(value: Any) -> bytes:
    """Give JSON, which has no NaN: such a loss becomes null. Half a character is spelled out."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_whole(to_plain(value)))


def _found(status: Status, rows: Sequence[Row]) -> bytes:
    shown = current(status, rows[:MOST_ROWS])
    short = [dataclasses.replace(row, words=row.words[:MOST_WORDS]) for row in shown]
    return as_json({"open": status.incidents, "logbook": short})


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
