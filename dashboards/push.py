"""Bringing the dashboards into a Grafana: into a folder, with a data source, and only what differs."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import niquests
from grafana_client.api import GrafanaApi
from grafana_client.client import GrafanaClientError, GrafanaException

from sentinel.dashboards.build import Document

OLDEST = (11, 0)
"""Of Grafana's releases: the library's panels are written for this one and later."""
PROMETHEUS = "prometheus"
FOLDER = "sentinel"
ANSWERS_WITHIN_S = 10.0
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
        self._api = GrafanaApi.from_url(f"{self.url}/", credential=token, timeout=ANSWERS_WITHIN_S)

    def check(self) -> str:
        """Say its release. An old one is refused."""
        build = self._ask(self._api.health.check)
        release = str((build or {}).get("version") or "unknown")
        numbers = tuple(int(part) for part in release.split("-")[0].split(".")[:2] if part.isdigit())
        if numbers < OLDEST:
            needed = ".".join(map(str, OLDEST))
            raise PushError(f"{self.url} is Grafana {release}: these dashboards need {needed} or later")
        return release

    def sources(self) -> Sequence[Source]:
        """Give its Prometheus data sources, the default first."""
        found = [
            each for each in self._ask(self._api.datasource.list_datasources) if each["type"] == PROMETHEUS
        ]
        found.sort(key=lambda each: (not each.get("isDefault"), each["name"]))
        return [Source(each["uid"], each["name"]) for each in found]

    def push(
        self, boards: Iterable[Document], source: Source, folder: str, *, dry_run: bool
    ) -> Iterator[Change]:
        """Bring dashboards there; with `dry_run` only say what would be done."""
        if self._found(lambda: self._api.folder.get_folder(FOLDER)) is None:
            if not dry_run:
                self._ask(lambda: self._api.folder.create_folder(folder, uid=FOLDER))
            yield Change(f"folder {folder}", "new")
        for board in boards:
            yield self._put(with_source(board, source), dry_run=dry_run)

    def _put(self, board: Document, *, dry_run: bool) -> Change:
        uid = board["uid"]
        there = self._found(lambda: self._api.dashboard.get_dashboard(uid))
        kind = "new" if there is None else "unchanged" if same(there["dashboard"], board) else "changed"
        if kind != "unchanged" and not dry_run:
            wish = {
                "dashboard": board,
                "folderUid": FOLDER,
                "overwrite": True,
                "message": "sentinel dashboards push",
            }
            self._ask(lambda: self._api.dashboard.update_dashboard(wish))
        return Change(board["title"], kind, f"{self.url}/d/{uid}")

    def _found(self, ask: Any) -> Any:
        """Ask for what may not be there."""
        try:
            return self._ask(ask)
        except _MissingError:
            return None

    def _ask(self, ask: Any) -> Any:
        try:
            return ask()
        except GrafanaException as error:
            raise _explained(self.url, error) from None
        except (niquests.exceptions.RequestException, ValueError, AttributeError, OSError) as error:
            raise PushError(
                f"{self.url} does not answer as a Grafana: {type(error).__name__}: {error}"
            ) from None


class _MissingError(PushError):
    """Grafana has no such thing."""


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


def _explained(url: str, error: GrafanaException) -> PushError:
    said = error.response.get("message", "") if isinstance(error.response, dict) else str(error.response)
    match error.status_code:
        case 401:
            return PushError(f"{url} does not accept the token of GRAFANA_TOKEN: {said or 'unauthorized'}")
        case 403:
            return PushError(
                f"{url}: the token may not do this ({said or 'forbidden'}); "
                "it needs an Editor's rights, and to read data sources"
            )
        case 404:
            return _MissingError(f"{url} has no such thing: {said}")
        case _:
            kind = "refuses" if isinstance(error, GrafanaClientError) else "fails"
            return PushError(f"{url} {kind} ({error.status_code}): {said or error.message}")
