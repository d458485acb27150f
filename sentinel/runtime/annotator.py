"""Has incidents and evictions annotated in Grafana: when each began and ended, what it was, and its entry."""

import asyncio
import html
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from sentinel.adapters.grafana import ENTRY, Annotations
from sentinel.adapters.outbox import Timing
from sentinel.adapters.outbox_file import OutboxError
from sentinel.adapters.outboxes import Outboxes
from sentinel.adapters.page_channel import Sender, life_of
from sentinel.core.page.words import title_of, where
from sentinel.core.state import Rules, State
from sentinel.model.action import Page
from sentinel.model.ids import DAY_S, ActionId, IncidentId, Instant, Seconds
from sentinel.model.incident import Incident

FILE = "annotations.db"
LOOKS_EVERY_S: Seconds = 1.0
"""How late an annotation may be, and how exact an eviction's end is."""
LATEST_S: Seconds = DAY_S
"""What was over for longer when it is first seen is not annotated."""
LONGEST_TAG = 100
"""Characters of a tag's value; Grafana refuses longer ones."""

log = structlog.get_logger(logger_name="annotator")


@dataclass(frozen=True, slots=True)
class Note:
    """What is annotated."""

    name: str
    """`I-0007`, or `I-0007/n3` for the eviction of a node."""
    kind: str
    """`incident | eviction`"""
    began: Instant
    ended: Instant | None
    text: str
    about: tuple[str, ...]
    """Tags that say what it is about, such as `node:n3`."""


def notes(state: State, rules: Rules) -> Iterator[Note]:
    """Give what there is to annotate now; an eviction that ended is no more among it."""
    for incident in state.incidents.values():
        if incident.about is not None and incident.part_of is None:
            yield _of_incident(incident, rules)
    for node in state.cordoned():
        if (cordon := node.cordon) is not None and cordon.is_ours:
            about = f"incident:{cordon.by}", f"node:{node.id}"
            text = f"{node.id} is out of use: {cordon.reason}"
            yield Note(f"{cordon.by}/{node.id}", "eviction", cordon.at, None, text, about)


def _of_incident(incident: Incident, rules: Rules) -> Note:
    assert incident.about is not None
    ended = incident.times.get("resolved") if incident.is_over else None
    title, place = title_of(incident, rules.runbooks.get(incident.about.cause)), where(incident)
    about = [f"incident:{incident.id}", f"cause:{incident.about.cause}"]
    about += [f"job:{incident.job}"] if incident.job else []
    about += [f"node:{node}" for node in incident.about.nodes]
    text = f"{title}: {place}" if place else title
    return Note(incident.id, "incident", incident.opened, ended, text, tuple(about))


def written(name: str, note: Note, sender: Sender) -> str:
    """Write an annotation as Grafana takes it: times in ms, and HTML."""
    tags = ["sentinel", note.kind, f"cluster:{sender.cluster}", *note.about, f"{ENTRY}{name}"]
    text = html.escape(note.text)
    if sender.url:
        incident = note.name.split("/", 1)[0]
        text += f' <a href="{html.escape(sender.url)}/logbook/{incident}">{incident}</a>'
    said = {"time": _ms(note.began), "tags": [_cut(tag) for tag in tags], "text": text}
    return json.dumps(said if note.ended is None else said | {"timeEnd": _ms(note.ended)})


class Annotator:
    """Compares what there is with what Grafana was told, in an outbox of its own."""

    def __init__(
        self,
        folder: Path,
        channel: Annotations,
        sender: Sender,
        look: Callable[[], tuple[State, Rules, Instant]],
        timing: Timing | None = None,
    ) -> None:
        """Open or create the outbox. `look` gives what is known, and the time. Raises OutboxError."""
        self._outboxes = Outboxes(folder / FILE, lambda *_: None, timing)
        self._channel, self._sender, self._look_at = channel, sender, look
        self._open = {page.incident: page for page in self._outboxes.open()}
        """By the entry's name: what Grafana was told, or is being told, of what is not over."""
        self._over: set[str] = set()

    async def run(self) -> None:
        """Annotate until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._outboxes.run([self._channel]))
            tasks.create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            try:
                self.look()
            except Exception:  # a defect here must keep nothing else from anybody
                log.exception("not-annotated")
            await asyncio.sleep(LOOKS_EVERY_S)

    def look(self) -> None:
        """Keep what is new or another, and the end of what is over."""
        state, rules, now = self._look_at()
        found = {f"{life_of(self._sender)}/{note.name}": note for note in notes(state, rules)}
        for name, note in found.items():
            if name in self._open or not self._is_past(name, note, now):
                self._keep(name, written(name, note, self._sender), over=note.ended is not None)
        for name in set(self._open) - set(found):  # it was readmitted, or its journal is gone
            told = json.loads(self._open[IncidentId(name)].body)
            self._keep(name, json.dumps(told | {"timeEnd": _ms(now)}), over=True)

    def _is_past(self, name: str, note: Note, now: Instant) -> bool:
        """Say whether something that is not open in the outbox was told before, or too long ago."""
        if name not in self._over and note.ended is not None:
            if now - note.ended < LATEST_S and not self._outboxes.knows(name):
                return False
            self._over.add(name)
        return name in self._over

    def _keep(self, name: str, body: str, *, over: bool) -> None:
        told = self._open.get(IncidentId(name))
        if told is not None and told.body == body:
            return
        number = told.revision + 1 if told is not None else 1
        stage = "resolved" if over else "open"
        page = Page(ActionId(f"{name}/{number}"), IncidentId(name), number, name, body, stage)
        try:
            self._outboxes.keep(page)
        except OutboxError as error:  # whoever looks next tries again
            log.error("annotation-not-kept", entry=name, error=str(error))
            return
        if over:
            self._open.pop(page.incident, None)
            self._over.add(name)
        else:
            self._open[page.incident] = page


def _ms(at: Instant) -> int:
    return round(at * 1000)


def _cut(tag: str) -> str:
    key, colon, value = tag.partition(":")
    return f"{key}{colon}{value[-LONGEST_TAG:]}"
