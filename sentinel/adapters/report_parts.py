"""A report read beat by beat and event by event, so that one that can't be read costs no other."""

from collections.abc import Callable
from typing import Annotated

import msgspec
from msgspec.structs import replace

from sentinel.model.codec import CodecError, decode, encode
from sentinel.model.ids import Count
from sentinel.model.report import MOST_EVENTS, MOST_RANKS, Event, RankBeat, Report, Unreadable

_Beats = Annotated[list[msgspec.Raw], msgspec.Meta(max_length=MOST_RANKS)]
_Events = Annotated[list[tuple[Count, msgspec.Raw]], msgspec.Meta(max_length=MOST_EVENTS)]


def read_by_part(payload: bytes, why: CodecError, refuse: Callable[[CodecError], None]) -> Report:
    """Read a report's beats and events one by one. Raises `why` for what is no report.

    A beat that can't be read is told to `refuse` and left out; `Unreadable` stands for an event, so that it
    is acknowledged.
    """
    fields = decode(dict[str, msgspec.Raw], payload)
    if not fields.keys() >= {"beats", "events"}:
        raise why
    beats: list[msgspec.Raw] = decode(_Beats, fields["beats"])
    events: list[tuple[int, msgspec.Raw]] = decode(_Events, fields["events"])
    report: Report = decode(Report, encode({**fields, "beats": (), "events": ()}))
    return replace(
        report,
        beats=tuple(beat for raw in beats if (beat := _beat(raw, refuse))),
        events=tuple((number, _event(raw)) for number, raw in events),
    )


def _beat(raw: msgspec.Raw, refuse: Callable[[CodecError], None]) -> RankBeat | None:
    try:
        beat: RankBeat = decode(RankBeat, raw)
    except CodecError as error:
        refuse(error)
        return None
    return beat


def _event(raw: msgspec.Raw) -> Event:
    try:
        event: Event = decode(Event, raw)
    except CodecError as error:
        return Unreadable(str(error))
    return event
