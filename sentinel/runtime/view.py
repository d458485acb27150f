"""What the controller shows on its pages: its state, put into the pages' values."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from statistics import median
from types import MappingProxyType

from sentinel.backends.port import Nodes
from sentinel.core.detect.watch import Watch
from sentinel.core.page.left import left_for_people, left_in_all
from sentinel.core.page.severity import severity
from sentinel.core.page.words import also, broke_again, earlier, stood_still, title_of, where
from sentinel.core.proofs import progress
from sentinel.core.recovery import awaits
from sentinel.core.settle.why import keeps_full, keeps_small, leaves, needs, why
from sentinel.core.state.rows import Job, Node
from sentinel.core.state.workers import WorkerStage
from sentinel.logbook import tally_file
from sentinel.logbook.book import Logbook
from sentinel.logbook.markdown import utc
from sentinel.logbook.row import Row
from sentinel.logbook.tally import Entry
from sentinel.logbook.words import action_line, with_numbers
from sentinel.model.finding import WORST, Finding, Health
from sentinel.model.ids import Instant, NodeId, Seconds
from sentinel.model.incident import Incident
from sentinel.model.report import NOT_RUNNING, RankBeat
from sentinel.redact import redact
from sentinel.runtime.accountant import Accountant
from sentinel.runtime.ledger import Ledger
from sentinel.runtime.recent import Recent
from sentinel.web.view import IncidentView, JobView, NodeView, Pulse, SeatView, Silence, Status

DECISIONS = 20


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """What a step of the settings' job is, as far as they say; 0 for unknown."""

    tokens_per_step: float = 0.0
    flops_per_step: float = 0.0
    peak_flops_per_rank: float = 0.0

    def tokens_per_s(self, step_s: Seconds | None) -> float | None:
        """Give the tokens that are trained on in a second."""
        return self.tokens_per_step / step_s if self.tokens_per_step and step_s else None

    def flops_share(self, step_s: Seconds | None, ranks: int) -> float | None:
        """Give the share of all ranks' peak that the model needs."""
        peak = self.peak_flops_per_rank * ranks
        return self.flops_per_step / step_s / peak if self.flops_per_step and step_s and peak else None


class ControllerView:
    """The controller as the pages see it."""

    def __init__(
        self,
        cluster: str,
        ledger: Ledger,
        watch: Watch,
        logbook: Logbook,
        scheduler: Nodes,
        now: Callable[[], Instant],
        recent: Recent | None = None,
        *,
        url: str = "",
        metrics_ports: Mapping[NodeId, int] = MappingProxyType({}),
        slack_trouble: Callable[[], str] = str,
        arithmetic: Arithmetic = Arithmetic(),
        accountant: Accountant | None = None,
    ) -> None:
        self._url, self._metrics_ports, self._arithmetic = url, metrics_ports, arithmetic
        self._recent, self._accountant = recent or Recent(), accountant
        self._cluster, self._ledger, self._watch, self._logbook = cluster, ledger, watch, logbook
        self._scheduler, self._now, self._slack_trouble = scheduler, now, slack_trouble
        self._started = now()

    def status(self) -> Status:
        """Put the present state into the pages' values."""
        state, now, rules = self._ledger.state, self._now(), self._ledger.rules
        asked = cache(lambda name: leaves(state.jobs[name], state, rules))  # planned once for all its nodes
        nodes = sorted((n for n in state.nodes.values() if not n.left), key=lambda n: n.id)
        opened = sorted(state.open_incidents(), key=lambda i: -i.opened)
        return Status(
            now=now,
            cluster=self._cluster,
            started=self._started,
            nodes=tuple(self._node(node, now, lambda job: asked(job.id)) for node in nodes),
            jobs=tuple(self._job(job) for job in state.jobs.values()),
            incidents=tuple(self._incident(incident) for incident in opened),
            decisions=tuple(islice(self._recent.views(state, lambda job: asked(job.id)), DECISIONS)),
            frozen=state.frozen,
            stopped=state.stopped,
            observe_only=self._ledger.rules.policy.observe_only,
            ray_trouble=redact(self._scheduler.trouble),
            slack_trouble=self._slack_trouble(),
            left=left_in_all(state, rules),
            silences=tuple(
                Silence(name, quiet.until, quiet.who, quiet.reason)
                for name, quiet in state.silences.items()
                if quiet.until > now
            ),
            url=self._url,
        )

    def why(self, name: str) -> Sequence[tuple[str, str]] | None:
        """Say what decides about a node, job or incident now."""
        return why(name, self._ledger.state, self._ledger.rules, self._now())

    def search(self, query: str) -> Sequence[Row]:
        """Search the logbook."""
        return self._logbook.search(query)

    def row(self, incident: str) -> Row | None:
        """Give one line of the logbook."""
        return self._logbook.row(incident)

    def entry(self, incident: str) -> str | None:
        """Give one entry."""
        return self._logbook.entry(incident)

    def counted(self) -> Sequence[Entry]:
        """Give the tally, as far as it is written."""
        return tally_file.read(self._logbook.folder)

    def uncounted(self) -> Sequence[Entry]:
        """Give what the tally does not hold yet."""
        return self._accountant.unwritten(self._now()) if self._accountant is not None else ()

    def _node(self, node: Node, now: Instant, leaving: Callable[[Job], str]) -> NodeView:
        health = next((h for h in WORST if any(f.health is h for f in node.findings.values())), Health.OK)
        age = self._watch.heard_age(node.id, now)
        cordon = f"{node.cordon.reason} ({node.cordon.said_by})".lstrip() if node.cordon else ""
        said = (
            f"{f.component}: {with_numbers(f.summary, f.evidence, _when_found(node, f))}"
            for f in node.findings.values()
        )
        findings = tuple(dict.fromkeys(said))  # all checks of a GPU that is lost say the same
        if node.usable and node.shunned:
            findings = (*findings, f"no worker starts here: {node.start_error}")
            health = Health.WARNING if health is Health.OK else health
        health = Health.UNKNOWN if age is None or node.silent else health
        expected, left_s = "", 0.0
        if (kept := node.maintained) is not None:
            expected, left_s = f"{kept.reason} ({kept.who})".strip(), max(0.0, kept.until - now)
        full = keeps_full(node, self._ledger.state, leaving)
        place = node.id, health, age, node.silent, cordon, expected, left_s, node.gpus
        spare = node.may_spare and not self._ledger.state.workers.sitting(node.id)
        port = self._metrics_ports.get(node.id, 0)
        metrics = f"{node.address}:{port}" if port else ""
        return NodeView(*place, findings, full, spare, metrics, *_way_back(node, now))

    def _job(self, job: Job) -> JobView:
        watch, state = self._watch, self._ledger.state
        beats = {beat.worker: beat for node in state.nodes for beat in watch.beats(node)}
        seats, newest, snapshots = [], [], []
        heard: list[tuple[RankBeat, Seconds]] = []
        for rank, worker in state.present(job):
            beat = beats.get(worker.id)
            current = beat if beat is not None and beat.generation == job.generation else None
            step, phase = (current.step, current.phase) if current else (-1, "")
            seats.append(SeatView(rank, worker.node, worker.gpu, worker.id, step, phase))
            newest.append(step)
            snapshots += [beat.snapshot_step] if beat is not None else []
            heard += [(beat, self._age(worker.node, beat))] if beat is not None else []
        others, generation, needed = [], job.generation, needs(state, job, self._ledger.rules)
        if not (seats or job.watched) and (others := self._of_another_journal(job)):
            generation = max(beat.generation for _, beat in others)
            seats = [SeatView(b.rank, node, b.gpu, b.worker, b.step, b.phase) for node, b in others]
            newest = [beat.step for _, beat in others]
            snapshots = [beat.snapshot_step for _, beat in others]
            needed = "; ".join(filter(None, [needed, "ranks that another journal placed train on"]))
        step_s = watch.median_step(job.id)
        standbys = ((w.id, w.node) for w in state.workers.of(job.id) if w.stage is WorkerStage.STANDBY)
        return JobView(
            job.id,
            job.stage.value,
            generation,
            min(newest) if newest and min(newest) >= 0 else self._last_step(job),
            job.wanted,
            tuple(seats),
            tuple(standbys),
            tuple(watch.losses(job.id)),
            step_s,
            watch.step_age(job.id, self._now()),
            min(snapshots, default=-1),
            needed,
            keeps_small(job, state, self._ledger.rules),
            job.watched,
            _pulse(heard, self._ledger.rules.policy.silent_s),
            self._arithmetic.tokens_per_s(step_s),
            self._arithmetic.flops_share(step_s, len(seats)),
        )

    def _age(self, node: NodeId, beat: RankBeat) -> Seconds:
        """Say how long ago a rank beat, as far as its node has told."""
        return (self._watch.heard_age(node, self._now()) or 0.0) + max(0.0, beat.beat_age_s)

    def _of_another_journal(self, job: Job) -> list[tuple[NodeId, RankBeat]]:
        """Give who trains though this journal placed nobody, as before it takes over, by rank."""
        state = self._ledger.state
        heard = [
            (node, beat)
            for node in state.nodes
            for beat in self._watch.beats(node)
            if beat.job == job.id and beat.rank >= 0 and beat.state not in NOT_RUNNING
            if beat.generation > job.generation and state.workers.get(job.id, beat.worker) is None
        ]
        newest = max((beat.generation for _, beat in heard), default=0)
        return sorted((e for e in heard if e[1].generation == newest), key=lambda e: e[1].rank)

    def _last_step(self, job: Job) -> int:
        """Give the last step that is known of while some rank's beat is not: it forms, or is not heard."""
        steps = [step for step, _ in self._watch.losses(job.id)]
        return max(job.high_step, *steps[-1:], -1)

    def _incident(self, incident: Incident) -> IncidentView:
        found = incident.about
        state, rules = self._ledger.state, self._ledger.rules
        book = rules.runbooks.get(found.cause) if found else None
        left, awaited = left_for_people(incident, state, rules), awaits(incident, state, rules)
        return IncidentView(
            incident.id,
            incident.opened,
            incident.stage.value,
            title_of(incident, book) if found else "gathering evidence",
            found.cause if found else "",
            where(incident),
            found.why if found else "",
            found.confidence if found else 0.0,
            incident.acked_by,
            severity(incident, left, state, rules).value,
            tuple(_done(incident)),
            (*earlier(incident), *also(incident), *stood_still(incident), *broke_again(incident)),
            left,
            found.nodes[0] if found and found.nodes else "",
            awaited.what,
            max(0.0, awaited.until - self._now()),
            incident.acked_why,
        )


def _pulse(heard: Sequence[tuple[RankBeat, Seconds]], silent_s: Seconds) -> Pulse:
    """Sum up the heartbeats of a job's ranks, each with its age."""
    alive = [beat for beat, age in heard if age <= silent_s]
    outside = sorted(beat.outside_s for beat in alive if beat.outside_s > 0)
    return Pulse(
        len(alive),
        min((age for _, age in heard), default=None),
        Counter(beat.phase for beat in alive),
        (outside[0], median(outside), outside[-1]) if outside else None,
        max((beat.checkpoint_step for beat, _ in heard), default=-1),
    )


def _way_back(node: Node, now: Instant) -> tuple[str, str, Instant, Seconds, str]:
    """Say how far its proof is, in words and as a stage, how long its probation lasts, what is repaired."""
    stage, asked = (node.proof.stage.value, node.proof.at) if node.proof is not None else ("", 0.0)
    repairing = node.rungs[-1].value if node.repairing else ""
    probation_s = max(0.0, node.probation - now) if node.cordon is None else 0.0
    return progress(node), stage, asked, probation_s, repairing


def _when_found(node: Node, finding: Finding) -> str:
    """Say when a finding came, which its numbers are of."""
    at = next((fact.at for fact in reversed(node.recent) if fact.finding == finding), None)
    return "when it was found" if at is None else f"at {utc(at)[11:]}"


def _done(incident: Incident) -> Iterator[str]:
    for at, action in incident.deeds:
        after = "" if at is None else f"{at - incident.opened:+.1f} s: "
        yield f"{after}{action_line(action)}"
