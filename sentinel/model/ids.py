"""Names and times that every other noun is built from."""

from typing import Annotated, NewType

from msgspec import Meta

NodeId = NewType("NodeId", str)
"""A machine's stable name (its host name); survives a raylet or agent restart."""

JobId = NewType("JobId", str)
WorkerId = NewType("WorkerId", str)
"""One process that is or may become a rank. A replacement is a new worker."""

IncidentId = NewType("IncidentId", str)
ActionId = NewType("ActionId", str)
Cause = NewType("Cause", str)
"""A runbook's name."""

Instant = float
"""Seconds since the epoch on the controller's clock, taken on receipt."""

Seconds = float

Int = Annotated[int, Meta(ge=-(2**53), le=2**53)]
"""A whole number that comes from outside: counting on from it still fits into every format."""
