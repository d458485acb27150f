"""A node's ticket for its provider, from the logbook, the recordings and the journal, and as an archive."""

import http.client
import io
import json
import os
import tarfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from sentinel import private, runbooks
from sentinel.adapters.journal import Journal
from sentinel.logbook import recording
from sentinel.logbook.past import Past
from sentinel.logbook.ticket import Ticket, is_about, markdown, ticket
from sentinel.logbook.window import Window
from sentinel.model.codec import to_plain
from sentinel.model.fact import Fact, MembersProbed, NodeJoined
from sentinel.model.ids import NodeId, Seconds
from sentinel.model.incident import Blame
from sentinel.runtime.recall import state_of

ANSWERS_WITHIN_S = 3.0
BEFORE_S: Seconds = 60.0
"""What came so long before an incident of which only the journal knows may belong to it."""
MACHINES = (Blame.GPU, Blame.NODE, Blame.LINK)
"""Whom a cause blames that is the provider's business."""
MOST_BYTES = 16 << 20
"""Of a recording, or an agent's metrics."""


class UnknownNodeError(ValueError):
    """Nothing is on record of such a node."""


def made(
    past: Past, node: str, window: Window, state_dir: Path, journal: Path | None, agent: str = ""
) -> Ticket:
    """Put a node's ticket together; `agent` is where its metrics are.

    Raises UnknownNodeError, JournalError.
    """
    rows = [row for row in past.rows if row.opened in window]
    mine = [row for row in rows if is_about(row, node)]
    nodes, lately = _journalled(journal if journal is not None else state_dir / "journal.db")
    known = {fact.node for fact in [*nodes, *lately] if isinstance(fact, NodeJoined)}
    if not mine and node not in known:
        known |= {NodeId(name) for row in past.rows for name, _, _ in row.suspects if name}
        raise UnknownNodeError(f"no node {node!r:.80}: known are {', '.join(sorted(known)) or 'none'}")
    begins = min((fact.at for fact in lately), default=float("inf"))
    facts: dict[str, Sequence[Fact]] = {}
    for row in mine:
        if told := _recorded(state_dir / "recordings" / f"{row.incident}.jsonl"):
            facts[row.incident] = told
        elif begins <= row.opened:
            ends = row.opened + row.times.get("resolved", float("inf"))
            facts[row.incident] = [fact for fact in lately if row.opened - BEFORE_S <= fact.at <= ends]
    around = [*nodes, *(fact for fact in lately if isinstance(fact, NodeJoined | MembersProbed))]
    hardware = [cause for cause, book in runbooks.load().items() if book.blames in MACHINES]
    by_incident = {**facts, "": around}
    return ticket(NodeId(node), time.time(), rows, by_incident, past.entries, _live(agent), hardware)


def archive(found: Ticket, path: Path) -> None:
    """Write a tar of it: for people, for programs, and each incident's raw lines. Raises OSError."""
    files = {"ticket.md": markdown(found), "ticket.json": json.dumps(to_plain(found), indent=1)}
    for each in found.incidents:
        lines = (json.dumps(to_plain(line)) for line in each.lines)
        files[f"raw/{each.incident}.jsonl"] = "".join(f"{line}\n" for line in lines)
    folder = f"{found.machine.node}-{time.strftime('%Y%m%d', time.gmtime(found.made))}"
    mode = "w:gz" if path.name.endswith(("gz", "tgz")) else "w"
    opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, private.FILE_MODE)
    with os.fdopen(opened, "wb") as file, tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
        for name, text in files.items():
            body = text.encode(errors="backslashreplace")
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size, info.mtime, info.mode = len(body), int(found.made), 0o644
            tar.addfile(info, io.BytesIO(body))


def _recorded(path: Path) -> list[Fact]:
    """Give the facts of a recording; nothing where it is gone, or can't be read."""
    try:
        text = private.read(path, MOST_BYTES).decode(errors="replace")
        return [line.fact for line in recording.read(text, path.name).lines]
    except (OSError, recording.RecordingError):
        return []


def _journalled(path: Path) -> tuple[list[Fact], list[Fact]]:
    """Give the nodes that a journal knows, and the facts that it still holds; none where there is none."""
    if not path.exists():
        return [], []
    with closing(Journal(path, read_only=True)) as journal:
        state = state_of(journal, journal.snapshot_seq)
        nodes: list[Fact] = [
            NodeJoined(0.0, node.id, node.address, node.port, node.gpus, node.boot, node.labels)
            for node in state.nodes.values()
        ]
        return nodes, [line.fact for line in journal.lines(after=journal.first_seq() - 1)]


def _live(agent: str) -> Mapping[int, Mapping[str, str]]:
    """Ask a node's agent which GPUs it has; nothing where it does not answer."""
    if not agent:
        return {}
    host, _, port = agent.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=ANSWERS_WITHIN_S)
    try:
        connection.request("GET", "/metrics")
        text = connection.getresponse().read(MOST_BYTES).decode(errors="replace")
        families = list(text_string_to_metric_families(text))
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    samples = (
        sample for family in families for sample in family.samples if sample.name == "sentinel_gpu_info"
    )
    return {int(sample.labels["gpu"]): sample.labels for sample in samples if sample.labels["gpu"].isdigit()}
