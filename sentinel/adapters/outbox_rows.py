"""The outbox's rows: which pages wait, and how far each channel has got with each incident."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from os import PathLike
from typing import Any, TypeAlias

from sentinel.adapters.outbox_file import OutboxError as OutboxError
from sentinel.adapters.outbox_file import connect, read_page
from sentinel.adapters.outbox_schema import COLUMNS, DUE, OPEN, PLACE, SETTLE
from sentinel.model.action import Page
from sentinel.model.codec import to_plain
from sentinel.model.ids import ActionId, Instant

Moved: TypeAlias = Mapping[str, Sequence[tuple[Any, ...]]]
"""Everything that an outbox knows of one incident, by table."""


class Step(StrEnum):
    """What a channel has to do next for an incident."""

    OPEN = "open"
    EDIT = "edit"
    DETAIL = "detail"
    REFRESH = "refresh"
    REMIND = "remind"


@dataclass(frozen=True, slots=True)
class Work:
    """One call to a channel. `unsure`: the same call may have gone through before."""

    step: Step
    page: Page
    ref: str
    unsure: bool
    since: Instant
    """When the incident's first page was enqueued."""


@dataclass(frozen=True, slots=True)
class Health:
    """How a channel has fared lately."""

    failing_since: Instant | None = None
    failures: int = 0
    not_before: Instant = 0.0
    error: str = ""


class Rows:
    """Typed access to the file. Each public method that writes is one commit. One thread."""

    def __init__(self, path: str | PathLike[str]) -> None:
        self.elsewhere: set[str] = set()
        """Incidents that another outbox tells of for now."""
        self._db = connect(path)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add(self, page: Page, now: Instant) -> bool:
        """Keep a page; False when its id or its (incident, revision) is already there."""
        values = (page.id, page.incident, page.revision, json.dumps(to_plain(page)))
        with self._db:
            added = self._db.execute(
                "INSERT OR IGNORE INTO pages (id, incident, revision, page, detailed, resolved, at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*values, bool(page.thread), page.stage == "resolved", now),
            ).rowcount
            self._settle(page.incident)
        return added > 0

    def next_work(
        self, channel: str, healthy_before: Sequence[str], first: bool, now: Instant
    ) -> Work | None:
        """Choose the oldest incident that this channel has something to do for, least failed first."""
        row = self._db.execute(
            DUE,
            {
                "channel": channel,
                "healthy": json.dumps(list(healthy_before)),
                "first": first,
                "now": now,
                "elsewhere": json.dumps(list(self.elsewhere)),
            },
        ).fetchone()
        return self._work(channel, row[0], first) if row else None

    def _work(self, channel: str, incident: str, first: bool) -> Work | None:
        newest, since = self._newest(incident)
        shown = self._db.execute(
            "SELECT ref, revision, opening FROM messages WHERE channel = ? AND incident = ?",
            (channel, incident),
        ).fetchone()
        ref, revision, opening = shown or ("", -1, 0)
        if not ref:
            return Work(Step.OPEN, newest, "", bool(opening), since)
        if revision < newest.revision:
            return Work(Step.EDIT, newest, ref, False, since)
        detail = self._db.execute(
            "SELECT p.page, d.done IS NOT NULL FROM pages p LEFT JOIN deliveries d ON d.channel = ?"
            " AND d.incident = p.incident AND d.revision = p.revision WHERE p.incident = ? AND p.detailed"
            " AND COALESCE(d.done, 0) = 0 AND (? OR p.place = '') ORDER BY p.revision LIMIT 1",
            (channel, incident, first),
        ).fetchone()
        return Work(Step.DETAIL, read_page(detail[0]), ref, bool(detail[1]), since) if detail else None

    def _newest(self, incident: str) -> tuple[Page, Instant]:
        page, _, since = self._db.execute(
            "SELECT page, MAX(revision), (SELECT MIN(at) FROM pages WHERE incident = ?1)"
            " FROM pages WHERE incident = ?1",
            (incident,),
        ).fetchone()
        return read_page(page), since

    def shown_open(self, channel: str, now: Instant) -> list[tuple[Page, str]]:
        """Give pages that are open and that the channel shows as they are, with its references."""
        asked = {"channel": channel, "now": now, "elsewhere": json.dumps(list(self.elsewhere))}
        return [(read_page(text), ref) for text, ref, _ in self._db.execute(OPEN, asked)]

    def shown_as_is(self, channel: str, incident: str) -> tuple[Page, str] | None:
        """Give an incident's newest page and its reference, if the channel shows that one."""
        shown = self._db.execute(
            "SELECT ref, revision FROM messages WHERE channel = ? AND incident = ? AND ref != ''",
            (channel, incident),
        ).fetchone()
        if shown is None or incident in self.elsewhere:
            return None
        page = self.newest(incident)
        return (page, shown[0]) if shown[1] >= page.revision else None

    def histories(self) -> dict[str, list[tuple[Page, Instant]]]:
        """Give each open incident's pages, oldest first, and when each was kept."""
        found: dict[str, list[tuple[Page, Instant]]] = {}
        for incident, text, at in self._db.execute(
            "SELECT incident, page, at FROM pages WHERE incident IN"
            " (SELECT incident FROM pages GROUP BY incident HAVING NOT MAX(resolved))"
            " AND incident NOT IN (SELECT value FROM json_each(?)) ORDER BY revision",
            (json.dumps(list(self.elsewhere)),),
        ):
            found.setdefault(incident, []).append((read_page(text), at))
        return found

    def sending(self, channel: str, work: Work) -> None:
        """Note before the call that it may happen, so that a crash leaves it unsure."""
        with self._db:
            if work.step is Step.OPEN:
                self._message(channel, work.page.incident, opening=1)
            elif work.step is Step.DETAIL:
                self._delivery(channel, work.page, 0)

    def not_sent(self, channel: str, work: Work) -> None:
        """Take the note back: the call surely had no effect."""
        with self._db:
            self._message(channel, work.page.incident, opening=0)
            self._db.execute(
                "DELETE FROM deliveries WHERE channel = ? AND incident = ? AND revision = ? AND NOT done",
                (channel, work.page.incident, work.page.revision),
            )

    def shown(self, channel: str, page: Page, ref: str, revision: int) -> None:
        """Record what the incident's message shows now."""
        with self._db:
            self._message(channel, page.incident, ref=ref, revision=revision, opening=0)
            self._settle(page.incident)

    def detailed(self, channel: str, page: Page) -> None:
        """Record that the page's details are in the thread."""
        with self._db:
            self._delivery(channel, page, 1)
            self._settle(page.incident)

    def gone(self, channel: str, page: Page) -> None:
        """Forget a message that somebody deleted; the next revision opens a new one."""
        with self._db:
            self._message(channel, page.incident, ref="", revision=-1, opening=0)

    def refused(self, channel: str, page: Page, why: str, not_before: Instant) -> None:
        """Record that the channel will not take this incident as things are."""
        with self._db:
            self._message(channel, page.incident, refused=why, not_before=not_before)

    def worked(self, channel: str, page: Page) -> None:
        """Record a call that went through."""
        with self._db:
            self._message(channel, page.incident, refused="", not_before=0.0, failures=0)
            self._db.execute("DELETE FROM channels WHERE channel = ?", (channel,))

    def failed(self, channel: str, page: Page, health: Health) -> None:
        """Record a call that failed for now; another incident is tried first next time."""
        with self._db:
            self._message(channel, page.incident)
            self._db.execute(
                "UPDATE messages SET failures = failures + 1 WHERE channel = ? AND incident = ?",
                (channel, page.incident),
            )
            self._db.execute(
                "INSERT OR REPLACE INTO channels (channel, failing_since, failures, not_before, error)"
                " VALUES (?, ?, ?, ?, ?)",
                (channel, health.failing_since, health.failures, health.not_before, health.error),
            )

    def health(self, channel: str) -> Health:
        """How the channel fares; all defaults when its last call went through."""
        row = self._db.execute(
            "SELECT failing_since, failures, not_before, error FROM channels WHERE channel = ?", (channel,)
        ).fetchone()
        return Health(*row) if row else Health()

    def unreported(self) -> list[tuple[ActionId, str]]:
        """Pages that reached a place which nobody was told of: (action id, channel)."""
        return self._db.execute(
            "SELECT id, place FROM pages WHERE place != '' AND reported != 'delivered' ORDER BY seq"
        ).fetchall()

    def hopeless(self, channels: Sequence[str]) -> list[tuple[ActionId, str]]:
        """Pages that every channel refuses and nobody was told of: (action id, last reason)."""
        return self._db.execute(
            "SELECT p.id, MAX(m.refused) FROM pages p JOIN messages m ON m.incident = p.incident"
            " WHERE p.place = '' AND p.reported = '' AND m.refused != ''"
            " AND m.channel IN (SELECT value FROM json_each(?))"
            " GROUP BY p.id HAVING COUNT(*) = ? ORDER BY p.seq",
            (json.dumps(list(channels)), len(channels)),
        ).fetchall()

    def reported(self, action: ActionId, what: str) -> None:
        """Remember what the callback was told of a page: `delivered | refused`."""
        with self._db:
            self._db.execute("UPDATE pages SET reported = ? WHERE id = ?", (what, action))

    def waiting(self, channel: str) -> int:
        """How many pages this channel has not done."""
        (count,) = self._db.execute(
            "SELECT COUNT(*) FROM pages p WHERE NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.channel = ?"
            " AND d.incident = p.incident AND d.revision = p.revision AND d.done)",
            (channel,),
        ).fetchone()
        return int(count)

    def adopt(self, primary: str) -> None:
        """Spare a primary that is new here what was already shown elsewhere: no flood of old incidents."""
        if self._db.execute("SELECT 1 FROM primaries WHERE channel = ?", (primary,)).fetchone():
            return  # without a write, which a full disk would refuse
        with self._db:
            self._db.execute("INSERT INTO primaries VALUES (?)", (primary,))
            self._db.execute(
                "INSERT OR IGNORE INTO deliveries (channel, incident, revision, done)"
                " SELECT ?, incident, revision, 1 FROM pages WHERE place != ''",
                (primary,),
            )

    def prune(self, channel: str, before: Instant) -> None:
        """Drop incidents resolved before this time that the channel has shown to the end."""
        done = self._db.execute(
            "SELECT p.incident FROM pages p GROUP BY p.incident HAVING MAX(p.at) < ? AND MAX(p.resolved)"
            " AND COUNT(*) = (SELECT COUNT(*) FROM deliveries d"
            " WHERE d.channel = ? AND d.incident = p.incident AND d.done)",
            (before, channel),
        ).fetchall()
        with self._db:
            for table in ("pages", "messages", "deliveries"):
                self._db.executemany(f"DELETE FROM {table} WHERE incident = ?", done)  # noqa: S608  fixed names

    def incidents(self) -> list[str]:
        """Name the incidents that there are pages of, oldest first."""
        found = self._db.execute("SELECT incident FROM pages GROUP BY incident ORDER BY MIN(seq)")
        return [incident for (incident,) in found]

    def unseen(self) -> list[str]:
        """Name the incidents with a page that no channel has shown, oldest first."""
        found = self._db.execute(
            "SELECT incident FROM pages WHERE place = '' GROUP BY incident ORDER BY MIN(seq)"
        )
        return [incident for (incident,) in found]

    def newest(self, incident: str) -> Page:
        """Give an incident's page of the highest revision."""
        return self._newest(incident)[0]

    def undelivered(self) -> int:
        """How many pages no channel has shown, without those that another outbox tells."""
        (count,) = self._db.execute(
            "SELECT COUNT(*) FROM pages WHERE place = ''"
            " AND incident NOT IN (SELECT value FROM json_each(?))",
            (json.dumps(list(self.elsewhere)),),
        ).fetchone()
        return int(count)

    def refuses(self, channel: str) -> bool:
        """Say whether a channel refuses an incident."""
        found = self._db.execute("SELECT 1 FROM messages WHERE channel = ? AND refused != ''", (channel,))
        return found.fetchone() is not None

    def of(self, incident: str) -> Moved:
        """Give everything that is known of an incident."""
        return {
            table: self._db.execute(
                f"SELECT {columns} FROM {table} WHERE incident = ?",  # noqa: S608  own names
                (incident,),
            ).fetchall()
            for table, columns in COLUMNS.items()
        }

    def replace(self, incident: str, moved: Moved) -> None:
        """Know of an incident what another outbox knew, and nothing else."""
        with self._db:
            for table, columns in COLUMNS.items():
                self._db.execute(f"DELETE FROM {table} WHERE incident = ?", (incident,))  # noqa: S608  own names
                marks = ", ".join("?" for _ in columns.split(","))
                self._db.executemany(
                    f"INSERT INTO {table} ({columns}) VALUES ({marks})",  # noqa: S608  own names
                    moved.get(table, ()),
                )

    def _message(self, channel: str, incident: str, **values: Any) -> None:
        self._db.execute(
            "INSERT OR IGNORE INTO messages (channel, incident) VALUES (?, ?)", (channel, incident)
        )
        for column, value in values.items():
            self._db.execute(
                f"UPDATE messages SET {column} = ? WHERE channel = ? AND incident = ?",  # noqa: S608  own names
                (value, channel, incident),
            )

    def _delivery(self, channel: str, page: Page, done: int) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO deliveries (channel, incident, revision, done) VALUES (?, ?, ?, ?)",
            (channel, page.incident, page.revision, done),
        )

    def _settle(self, incident: str) -> None:
        self._db.execute(SETTLE, (incident,))
        self._db.execute(PLACE, (incident,))
