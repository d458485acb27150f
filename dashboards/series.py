"""Which of Sentinel's metrics dashboards and rules use, and why they do not use the others."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import yaml

from sentinel.dashboards.build import Document
from sentinel.dashboards.expression import selectors
from sentinel.dashboards.lint import Complaint, queries
from sentinel.dashboards.promql import PREFIX

RULES = Path(__file__).parent / "rules"
UNUSED: Mapping[str, str] = {
    "agent_ranks": "`node_ranks` says it from the controller, which also knows of agents that are away",
    "baseline_nodes": "a baseline is shown only where enough nodes make it",
    "clock_synchronised": "`clock_error_seconds` grows when nobody disciplines the clock",
    "gpu_ecc_corrected_errors_total": "DRAM and SRAM are shown apart: a limit holds for each",
    "gpu_ecc_lifetime_corrected_errors_total": "corrected errors over a life say nothing; their rate does",
    "gpu_mig_enabled": "a finding says it where it matters",
    "gpu_mig_instances": "a finding says it where it matters",
    "gpu_pcie_generation": "it falls when a GPU rests, so a graph of it misleads; the check knows",
    "gpu_recovery_action": "a finding says what the driver asks for",
    "gpu_remapped_rows_corrected": "what was remapped for corrected errors is no sign of failure",
    "gpu_throttle_reasons": "a bit mask; the seconds of each violation are shown",
    "host_load1": "the pressures say who waits; load does not",
    "host_swap_used_bytes": "memory available and stalled say when it hurts",
    "job_checkpoint_step": "its age says how much would be lost",
    "job_snapshot_step": "its age says how much would be lost",
    "nic_mtu_bytes": "it is a setting; a finding says when a node's differs",
    "process_start_time_seconds": "`controller_start_time_seconds` says when it took over",
    "process_virtual_memory_bytes": "resident memory is what a process takes",
    "rank_collectives_completed_total": "what Sentinel compares; a person sees phases",
    "rank_collectives_entered_total": "what Sentinel compares; a person sees phases",
    "steps_replayed_total": "the incident says who computed wrong; that steps are computed again is no news",
}
"""Metrics, without their prefix, that no panel and no rule uses, each with why not."""
_PARTS = re.compile(r"_(bucket|count|sum)$")


def complaints(documented: str, boards: Iterable[Document], rules: Path = RULES) -> Iterator[Complaint]:
    """Compare what is used with the tables of `docs/metrics.md`."""
    known = set(re.findall(rf"^\| `{PREFIX}(\w+)`", documented, re.MULTILINE))
    used = {*_shown(boards), *_ruled(rules)}
    for name in sorted(used - known):
        yield Complaint("series-known", PREFIX + name, "is used, and no metric has this name")
    for name in sorted(known - used - set(UNUSED)):
        yield Complaint("series-used", PREFIX + name, "no panel and no rule uses it, and nothing says why")
    for name in sorted(set(UNUSED) & used | set(UNUSED) - known):
        yield Complaint("series-used", PREFIX + name, "is listed as unused, and is used or does not exist")


def _shown(boards: Iterable[Document]) -> Iterator[str]:
    for board in boards:
        for _, expression in queries(board):
            yield from _named(expression)


def _ruled(rules: Path) -> Iterator[str]:
    """Give what rules use; what they record has names with a colon."""
    for path in sorted(rules.glob("*.y*ml")):
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        for group in document.get("groups", ()):
            for rule in group.get("rules", ()):
                yield from _named(str(rule["expr"]))


def _named(expression: str) -> Iterator[str]:
    for each in selectors(expression):
        if each.name.startswith(PREFIX):
            yield _PARTS.sub("", each.name.removeprefix(PREFIX))
