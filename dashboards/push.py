"""Bringing the dashboards into a Grafana: into a folder, with a data source, and only what differs."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from sentinel.dashboards.build import Document

OLDEST = (11, 0)
"""Of Grafana's releases: the library's panels are written for this one and later."""
PROMETHEUS = "prometheus"
FOLDER = "sentinel"
ANSWERS_WITHIN_S = 10.0
MESSAGE = "sentinel dashboards push"
ITS_OWN = ("id", "version", "schemaVersion")
"""What Grafana writes into a dashboard by itself."""


class PushError(ValueError):
    """A dashboard could not be brought there; the text says why, in one line."""


@dataclass(frozen=True, slots=True)
class Source:
    """A data source of Grafana's."""

    uid: str
    name: str


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a dashboard or a folder, or would."""

    what: str
    kind: str
    """`new | changed | unchanged`"""
    url: str = ""


class Grafana:
    """One Grafana, as far as dashboards are brought there. Every method raises PushError."""

    def __init__(self, url: str, token: str) -> None:
        if not _is_address(url):
            raise PushError(f"{url!r} is no address of a Grafana: expected http(s)://HOST[:PORT]")
        self.url = url.rstrip("/")
        self._client = httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=ANSWERS_WITHIN_S)

    def check(self) -> str:
        """Say its release. An old one is refused."""
        try:
            release = str(self._ask("GET", "frontend/settings")["buildInfo"]["version"])
        except (KeyError, TypeError):
            raise PushError(f"{self.url} does not answer as a Grafana: it names no release") from None
        numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
        if numbers < OLDEST:
            needed = ".".join(map(str, OLDEST))
            raise PushError(f"{self.url} is Grafana {release}: these dashboards need {needed} or later")
        return release

    def sources(self) -> Sequence[Source]:
        """Give its Prometheus data sources, the default first."""
        found = [each for each in self._ask("GET", "datasources") if each["type"] == PROMETHEUS]
        found.sort(key=lambda each: (not each.get("isDefault"), each["name"]))
        return [Source(each["uid"], each["name"]) for each in found]

    def push(
        self, boards: Iterable[Document], source: Source, folder: str, *, dry_run: bool
    ) -> Iterator[Change]:
        """Bring dashboards there; with `dry_run` only say what would be done."""
        if self._ask("GET", f"folders/{FOLDER}") is None:
            if not dry_run:
                self._ask("POST", "folders", {"uid": FOLDER, "title": folder})
            yield Change(f"folder {folder}", "new")
        for board in boards:
            yield self._put(with_source(board, source), dry_run=dry_run)

    def _put(self, board: Document, *, dry_run: bool) -> Change:
        there = self._ask("GET", f"dashboards/uid/{board['uid']}")
        kind = "new" if there is None else "unchanged" if same(there["dashboard"], board) else "changed"
        if kind != "unchanged" and not dry_run:
            wish = {"dashboard": board, "folderUid": FOLDER, "overwrite": True, "message": MESSAGE}
            self._ask("POST", "dashboards/db", wish)
        return Change(board["title"], kind, f"{self.url}/d/{board['uid']}")

    def _ask(self, method: str, path: str, body: Document | None = None) -> Any:
        """Give what a route answers; None where it reads what is not there."""
        try:
            answer = self._client.request(method, f"{self.url}/api/{path}", json=body)
            said = answer.json()
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise PushError(
                f"{self.url} does not answer as a Grafana: {type(error).__name__}: {error}"
            ) from None
        if answer.status_code == httpx.codes.NOT_FOUND and method == "GET":
            return None
        if not answer.is_success:
            raise PushError(f"{self.url} {_refusal(answer.status_code, said)}")
        return said


def with_source(board: Document, source: Source) -> Document:
    """Give a dashboard whose variable begins with this data source."""
    made: Document = json.loads(json.dumps(board))
    for variable in made["templating"]["list"]:
        if variable["type"] == "datasource":
            variable["current"] = {"selected": True, "text": source.name, "value": source.uid}
    return made


def same(one: Document, other: Document) -> bool:
    """Say whether two dashboards differ only in what Grafana writes by itself."""
    plain = [{key: value for key, value in each.items() if key not in ITS_OWN} for each in (one, other)]
    return plain[0] == plain[1]


def choose(sources: Sequence[Source], wanted: str) -> Source | None:
    """Choose a data source by name or uid, or the only one; None where somebody has to be asked."""
    if not sources:
        raise PushError("this Grafana has no Prometheus data source: add the one that scrapes Sentinel first")
    if wanted:
        for each in sources:
            if wanted in (each.name, each.uid):
                return each
        raise PushError(
            f"no Prometheus data source {wanted!r}: there are {', '.join(s.name for s in sources)}"
        )
    return sources[0] if len(sources) == 1 else None


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _refusal(status: int, said: Any) -> str:
    why = said.get("message", "") if isinstance(said, dict) else ""
    match status:
        case httpx.codes.UNAUTHORIZED:
            return f"does not accept the token of GRAFANA_TOKEN: {why or 'unauthorized'}"
        case httpx.codes.FORBIDDEN:
            needed = "it needs an Editor's rights, and to read data sources"
            return f"does not let this token do this ({why or 'forbidden'}); {needed}"
        case _:
            return (
                f"{'fails' if status >= httpx.codes.INTERNAL_SERVER_ERROR else 'refuses'} ({status}): {why}"
            )
