"""Whose error a kernel line is about: a rank's, a stranger's, or nobody knows whose."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sentinel.model.check import Machine, RankProcess

COMM = 15
"""Characters of a process's name that the kernel keeps (TASK_COMM_LEN - 1): all that its lines show."""
_VERSION = re.compile(r"[\d.]+$")
_RAY = "ray::"
"""Ray renames its workers with each task, `ray::IDLE`, `ray::Name.method`: more than this says nothing."""
_LOADERS = frozenset({"pt_data_worker"})
"""How torch names a rank's loader processes: they are forked, and have pids of their own."""
BETWEEN = ("nvidia-cuda-mps", "swapper", "irq/", "kworker/", "ksoftirqd/", "raylet")
"""Who stands in a line in a rank's place: the server of CUDA MPS owns its clients' channels, the driver names
whoever ran when its interrupt came, and Ray's workers end with their raylet."""


class Owner(StrEnum):
    """Whose process a line names."""

    OURS = "ours"
    """A rank's or a standby's, alive or lately ended."""
    STRANGER = "stranger"
    """A known number that is nobody's of ours, and another name: explains and accuses nobody."""
    UNKNOWN = "unknown"
    """No number that counts, no other name than ours, or one of `BETWEEN`: may explain a rank's end, accuses
    nobody alone."""


@dataclass(frozen=True, slots=True)
class Owners:
    """The processes that are ours on one node, by what the kernel calls them."""

    ranks: Mapping[int, RankProcess]
    """Ranks and standbys by process number."""
    names: frozenset[str]
    numbers_count: bool
    """Whether the kernel's lines number processes as `ranks` does: else a number says nothing, and one that a
    rank has here is another process's there."""

    @classmethod
    def of(cls, machine: Machine) -> "Owners":
        """Take what a machine knows."""
        ranks = {each.pid: each for each in machine.processes}
        names = frozenset(program(each.name) for each in machine.processes if each.name)
        return cls(ranks, names and names | _LOADERS, machine.kernel_pids)

    def owner(self, pid: int | None, name: str) -> Owner:
        """Say whose process a kernel line names."""
        if not self.numbers_count:
            return Owner.UNKNOWN
        if pid in self.ranks:
            return Owner.OURS
        is_known = pid is not None and name and self.names and not name.startswith(BETWEEN)
        return Owner.STRANGER if is_known and program(name) not in self.names else Owner.UNKNOWN

    def evidence(self, pid: int | None, name: str) -> dict[str, str | int | float]:
        """Give what a finding says about it: process, pid, owner, rank and job, as far as they are known."""
        owner = self.owner(pid, name)
        evidence: dict[str, str | int | float] = {"process": name, "owner": owner.value}
        if pid is not None:
            evidence["pid"] = pid
            if owner is Owner.OURS and (process := self.ranks[pid]).rank >= 0:
                evidence["rank"] = process.rank
                evidence |= {"job": process.job} if process.job else {}
        return evidence


def program(name: str) -> str:
    """Give what two names of one program have in common: `python` of `python3.11`, `ray::` of any worker."""
    short = name[:COMM]
    return _RAY if short.startswith(_RAY) else _VERSION.sub("", short) or short
