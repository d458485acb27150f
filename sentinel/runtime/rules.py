"""The rules that decided: their hashes, and what these stand for, kept in the journal and read again."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import structlog

from sentinel.adapters import journal_rules
from sentinel.adapters.journal import Journal
from sentinel.core.state import Rules
from sentinel.model.codec import CodecError, Plain, from_plain, to_plain
from sentinel.model.ids import Cause
from sentinel.model.journal import Line
from sentinel.model.policy import Policy
from sentinel.model.runbook import Runbook

log = structlog.get_logger(logger_name="rules")


def policy_hash(rules: Rules) -> str:
    """Hash of the policy's numbers, journalled with each decision."""
    return journal_rules.hash_of(to_plain(rules.policy))


def contents(rules: Rules, runbooks_hash: str) -> Mapping[str, Plain]:
    """Give what the two hashes stand for, for the journal to keep."""
    return {policy_hash(rules): to_plain(rules.policy), runbooks_hash: to_plain(rules.runbooks)}


def rules_of(journal: Journal, today: Rules) -> Callable[[Line], Rules]:
    """Give a function that tells by which rules a line was decided.

    Today's take the place of what the journal does not hold, for it is older, or what can't be read any more.
    """

    @cache
    def by_hash(policy: str, runbooks: str) -> Rules:
        numbers = _read(Policy, journal.content(policy), policy)
        plain = _completed(journal.content(runbooks), to_plain(today.runbooks))
        books = _read(Mapping[Cause, Runbook], plain, runbooks)
        return Rules(numbers or today.policy, books or today.runbooks)

    return lambda line: by_hash(line.policy_hash, line.runbooks_hash)


def _completed(books: Plain | None, today: Plain) -> Plain | None:
    """Take from today's runbooks what those of an older release did not say yet."""
    if not isinstance(books, dict):
        return books
    return {cause: {**today.get(cause, {}), **book} for cause, book in books.items()}


def _read(noun: Any, plain: Plain | None, name: str) -> Any:
    try:
        return None if plain is None else from_plain(noun, plain)
    except CodecError as error:
        log.warning("old-rules-unreadable", hash=name, error=str(error))
        return None
