"""The control API: reading is open, every command has shown the token at the door."""

import dataclasses
import math
from typing import Any, Literal

from fastapi import APIRouter, HTTPException
from pydantic import BaseModel, ConfigDict, Field

from sentinel.core.operate import LONGEST_SILENCE_S
from sentinel.model.codec import to_plain
from sentinel.web.view import Command, Commander, CommandRefusedError, View

NEED_TARGET = frozenset({"ack", "silence", "drain", "undrain", "stop-job"})
CommandName = Literal[
    "ack", "silence", "drain", "undrain", "stop-actions", "resume-actions", "stop-job", "retire"
]


class CommandBody(BaseModel):
    """The body of every command."""

    model_config = ConfigDict(extra="forbid")

    target: str = Field(default="", max_length=200)
    who: str = Field(default="operator", min_length=1, max_length=100)
    reason: str = Field(default="", max_length=500)
    for_s: float = Field(default=0.0, ge=0.0, le=LONGEST_SILENCE_S, allow_inf_nan=False)


def router(view: View, command: Commander) -> APIRouter:
    """Build the routes under `/api`."""
    api = APIRouter(prefix="/api")

    @api.get("/status")
    async def status() -> Any:
        return _finite(to_plain(view.status()))

    @api.get("/incidents")
    async def incidents(q: str = "") -> Any:
        opened = _finite(to_plain(view.status().incidents))
        return {"open": opened, "logbook": [dataclasses.asdict(row) for row in view.search(q)]}

    @api.post("/{name}")
    async def post(name: CommandName, body: CommandBody) -> dict[str, str]:
        _check(name, body)
        try:
            done = await command(Command(name, body.target, body.who, body.reason, body.for_s))
        except CommandRefusedError as refusal:
            raise HTTPException(409, str(refusal)) from None
        return {"done": done}

    return api


def _check(name: str, body: CommandBody) -> None:
    if name in NEED_TARGET and not body.target:
        raise HTTPException(422, f"{name} needs a target")
    if name == "silence" and not body.for_s:
        raise HTTPException(422, "silence needs for_s, how many seconds it lasts")


def _finite(plain: Any) -> Any:
    """JSON has no NaN: a loss that is not a number becomes null."""
    if isinstance(plain, float):
        return plain if math.isfinite(plain) else None
    if isinstance(plain, list):
        return [_finite(item) for item in plain]
    if isinstance(plain, dict):
        return {key: _finite(item) for key, item in plain.items()}
    return plain
