"""Why an operator's command makes no sense now, with what the logbook and a look ahead know."""

import asyncio

from sentinel.core.commands import refuse_command, refuse_proof
from sentinel.core.fold import foretell
from sentinel.core.state import State
from sentinel.logbook.book import Logbook
from sentinel.logbook.markdown import utc
from sentinel.model.action import Page
from sentinel.model.fact import Commanded
from sentinel.model.ids import IncidentId, Instant, JobId
from sentinel.model.judgement import JUDGEMENTS, NOT_NODE
from sentinel.runtime.ledger import Ledger

OF_INCIDENTS = ("ack", "retry")
"""Commands that name an incident which is not over."""


async def objection(ledger: Ledger, logbook: Logbook, fact: Commanded) -> str:
    """Say in one line why a command is refused before it becomes a fact; empty when it makes sense."""
    refused = refuse_command(ledger.state, fact.command, fact.target, ledger.rules.runbooks)
    if fact.command == "prove":
        refused = refused or refuse_proof(ledger.state, fact.target, ledger.rules.policy)
    if refused and fact.command in OF_INCIDENTS:
        since = _resolved(ledger.state, fact.target)
        since = since or await asyncio.to_thread(_written, logbook, fact.target)
        refused = f"{fact.target} is resolved, since {utc(since)}" if since else refused
    if refused and fact.command in JUDGEMENTS and IncidentId(fact.target) not in ledger.state.incidents:
        refused = await asyncio.to_thread(_no_entry, logbook, fact)
    return refused or (_in_vain(ledger, fact) if fact.command == "retry" else "")


def _resolved(state: State, name: str) -> Instant | None:
    """Say when an incident was resolved that is not forgotten yet."""
    known = state.incidents.get(IncidentId(name))
    return known.times.get("resolved") if known is not None else None


def _written(logbook: Logbook, name: str) -> Instant | None:
    """Say when an incident was resolved that the logbook alone knows."""
    found = next((row for row in logbook.rows() if row.incident == name), None)
    after = found.times.get("resolved") if found is not None else None
    return None if found is None or after is None else found.opened + after


def _no_entry(logbook: Logbook, fact: Commanded) -> str:
    """Why an incident that the logbook alone knows can't be judged."""
    found = logbook.row(fact.target)
    if found is None:
        return f"no incident {fact.target!r} is known"
    if not found.cause:
        return f"{fact.target} has no diagnosis: there is nothing to judge"
    blames = any(node for node, _, _ in found.suspects)
    return "" if blames or fact.command != NOT_NODE else f"{fact.target} blames no node"


def _in_vain(ledger: Ledger, fact: Commanded) -> str:
    """Say that nothing would come of trying again; a job that is over is always started anew."""
    job = ledger.state.jobs.get(JobId(fact.target))
    if job is not None and job.is_over:
        return ""
    try:
        decided = foretell(ledger.state, fact, ledger.rules)
    except Exception:  # a defect is said, and freezes actions, where the command itself meets it
        return ""
    if any(not isinstance(each, Page) for each in decided):
        return ""
    return f"nothing of {fact.target} was refused, failed or given up: there is nothing to try again"
