"""What a provider of machines is not to read: secrets, other nodes, jobs, processes, and who uses them."""

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from sentinel.redact import redact

Evidence: TypeAlias = Mapping[str, str | int | float]

NODE, JOB, ADDRESS, PROCESS = "[another node]", "[job]", "[address]", "[process]"
_KEYS = frozenset(
    {"owner", "process", "processes", "rank", "pid", "worker", "node", "nodes", "pair", "cmdline"}
)
"""Names of evidence that tell of a process, a job or another node."""
_COMM = re.compile(r"\b(name|task|comm|Comm|Process|process)([=:] ?)('?)[^,\s']{1,64}('?)")
"""A process's name in a kernel line: `name=python3`, `task=train`, `Comm: python3`."""
_CONTROL_GROUP = re.compile(r"(task_memcg|oom_memcg|cpuset|memcg)=[^,\s]{1,300}")
_ADDRESS = re.compile(r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b")
_HOME = re.compile(r"(/home|/Users|/root)/[^\s:,'\"]{1,200}")


class Mask:
    """Hides what is not the provider's business in all that is told of one node."""

    def __init__(
        self, node: str, others: Iterable[str], jobs: Iterable[str], addresses: Iterable[str]
    ) -> None:
        """`addresses` are the node's own: they stay."""
        self._own = frozenset(addresses)
        self._names = _any_of(name for name in others if name != node)
        self._jobs = _any_of(jobs)

    def text(self, text: str) -> str:
        """Give a text without them."""
        text = _COMM.sub(rf"\1\2\3{PROCESS}\4", redact(text))
        text = _CONTROL_GROUP.sub(r"\1=[control group]", text)
        text = _HOME.sub(r"\1/[path]", text)
        text = self._names.sub(NODE, text) if self._names else text
        text = self._jobs.sub(JOB, text) if self._jobs else text
        return _ADDRESS.sub(lambda found: found[0] if found[0] in self._own else ADDRESS, text)

    def evidence(self, evidence: Evidence) -> dict[str, str | int | float]:
        """Give raw evidence without them."""
        told = ((key, value) for key, value in evidence.items() if key not in _KEYS)
        return {key: self.text(value) if isinstance(value, str) else value for key, value in told}


def _any_of(names: Iterable[str]) -> re.Pattern[str] | None:
    """Find any of these as whole words, the longest first."""
    known = sorted({name for name in names if name}, key=len, reverse=True)
    if not known:
        return None
    return re.compile(rf"(?<![\w.-])(?:{'|'.join(map(re.escape, known))})(?![\w-])")
