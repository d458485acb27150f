"""From one incident to a scored draft: the trait is taken that names it and renames the fewest others."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sentinel.core.state import Rules
from sentinel.drafting import draft
from sentinel.drafting.library import Case, LibraryError
from sentinel.drafting.score import Judged, Renamed, score
from sentinel.drafting.traits import Trait, traits
from sentinel.model.ids import Cause
from sentinel.model.policy import Policy
from sentinel.model.runbook import Runbook
from sentinel.runbooks import read_beside, there
from sentinel.runbooks.own import draft_file, write_draft

TRIED = 6
"""Traits that are scored, the best first."""


class Learned(NamedTuple):
    """A draft, and what it would change."""

    file: Path
    book: Runbook
    trait: Trait
    renamed: Sequence[Renamed]
    incidents: int
    """How many there are in the logbook that could be told again."""

    @property
    def wrongly(self) -> list[Renamed]:
        """Give what it would rename and should not."""
        return [each for each in self.renamed if each.judged is Judged.WRONGLY]


def find(every: Sequence[Case], incident: str) -> Case:
    """Give one incident. Raises LibraryError where it can't be told again."""
    found = next((case for case in every if case.id == incident), None)
    if found is None:
        known = f"{every[0].id} to {every[-1].id}" if every else "none"
        raise LibraryError(
            f"{incident}: neither a recording nor the journal tells of it; there are {len(every)}: {known}"
        )
    return found


def learn(
    every: Sequence[Case],
    target: Case,
    policy: Policy,
    books: Mapping[Cause, Runbook],
    own: Path,
    cause: str = "",
    title: str = "",
) -> Learned:
    """Draft a runbook of an incident, and keep it where it decides nothing.

    Raises LibraryError where nothing in its evidence sets it apart, RunbookError, OSError.
    """
    rules, shelf = Rules(policy, books), there(own)
    if cause:
        draft_file(own, cause)
    found = traits(target, every, rules)
    tried = list[tuple[int, Trait, Runbook, list[Renamed], str]]()
    for number, trait in enumerate(found[:TRIED]):
        name = cause or draft.name_of(trait, [*books])
        text = draft.text_of(name, title, trait, found[:number] + found[number + 1 :], target, rules)
        book = _as_read(shelf, name, text)
        renamed = list(score(book, every, books))
        if any(each.incident == target.id for each in renamed):
            wrong = sum(each.judged is Judged.WRONGLY for each in renamed)
            tried.append((wrong, trait, book, renamed, text))
            if not wrong:
                break
    if not tried:
        raise LibraryError(_why_not(target, found))
    _, trait, book, renamed, text = min(tried, key=lambda each: each[0])
    return Learned(write_draft(own, book.cause, text), book, trait, renamed, len(every))


def _as_read(shelf: Mapping[Path, Runbook], name: str, text: str) -> Runbook:
    """Read a draft as it will be read once it is enabled. Raises RunbookError."""
    with tempfile.TemporaryDirectory(prefix="runbook-") as folder:
        file = Path(folder) / f"{name}.md"
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
        return read_beside(shelf, file)


def _why_not(target: Case, found: Sequence[Trait]) -> str:
    if not found:
        return f"{target.id}: its evidence holds no finding and no line that a runbook could match"
    best = found[0]
    what = f"{best.what!r:.120}"
    return f"{target.id}: nothing in its evidence would name it, not even {what}: another cause comes first"
