"""A day of incidents as a controller would have kept it: journal and recordings, from a rehearsal."""

import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from sentinel import runbooks
from sentinel.adapters.journal import Journal
from sentinel.core.state import Rules
from sentinel.logbook import recording
from sentinel.model.codec import to_plain
from sentinel.model.fact import Fact
from sentinel.model.ids import Cause, IncidentId
from sentinel.model.incident import Incident, Stage
from sentinel.model.policy import Policy
from sentinel.model.runbook import Runbook
from sentinel.rehearse.controller import Decision
from sentinel.rehearse.play import Player
from sentinel.rehearse.reading import of_plain
from sentinel.rehearse.rehearsal import rehearsal_of
from sentinel.runtime.rules import contents, policy_hash

SNAPSHOT_EVERY = 200


def lived(
    state_dir: Path, *steps: Mapping[str, Any], books: Mapping[Cause, Runbook] | None = None
) -> dict[IncidentId, Incident]:
    """Live through steps on a cluster of four nodes; gives every incident that there was."""
    scenario = of_plain({"cluster": {"nodes": 6, "world": 3}, "steps": list(steps)}, "day")
    books = runbooks.load() if books is None else books
    rules, hashed = Rules(scenario.policy_on(Policy()), books), runbooks.hash_of(books)
    by = (policy_hash(rules), hashed, contents(rules, hashed))
    (folder := state_dir / "recordings").mkdir(parents=True, exist_ok=True)
    with closing(Journal(state_dir / "journal.db")) as journal, rehearsal_of(scenario, rules) as rehearsal:

        def keep(decision: Decision) -> None:
            (seq,) = journal.append_many([(decision.fact, decision.decided)], *by)
            if seq % SNAPSHOT_EVERY == 0:
                journal.save_snapshot(seq, rehearsal.controller.state.to_bytes())

        rehearsal.world.now = rehearsal.stirred = time.time() - 86_400
        rehearsal.watched = keep
        rehearsal.warm_up()
        Player(rehearsal).play()
        incidents = rehearsal.controller.incidents
        for name, incident in incidents.items():
            if incident.stage is Stage.RESOLVED:
                text = recording.export(journal, incident, to_plain(rules.policy))
                (folder / f"{name}.jsonl").write_text(text)
    return incidents


def told(state_dir: Path, fact: Fact) -> None:
    """Add a fact to the journal, such as a person's word, from which nothing follows."""
    rules = Rules(Policy(), runbooks.load())
    with closing(Journal(state_dir / "journal.db")) as journal:
        journal.append(fact, (), policy_hash(rules), runbooks.hash_of(rules.runbooks))
