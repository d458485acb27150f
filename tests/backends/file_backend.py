"""The smallest back end: a folder with one file a node, in which others cordon with an editor.

A file holds lines such as `address=10.0.0.1`, `state=drained`, `who=kevin` and `reason=bad DIMM`, much as
`scontrol show node` prints them; agents are started by somebody else, and no ranks.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from sentinel import private
from sentinel.backends.port import Backend, BackendError, Context, KnownNode, NodeCordon
from sentinel.config import Settings
from sentinel.model.check import RankProcess
from sentinel.model.ids import NodeId, Seconds


class FileNodes:
    """The nodes of a folder; `who` signs what is cordoned here."""

    def __init__(self, folder: Path, who: str) -> None:
        self._folder, self._who = folder, who

    @property
    def trouble(self) -> str:
        return "" if self._folder.is_dir() else f"{self._folder} is gone"

    async def run(self, context: Context) -> None:
        await asyncio.Event().wait()  # there is nobody to keep in touch with

    async def known(self, within: Seconds) -> Sequence[KnownNode]:
        if self.trouble:
            raise BackendError(self.trouble)
        files = {NodeId(path.name): self._read(NodeId(path.name)) for path in sorted(self._folder.iterdir())}
        return [
            KnownNode(node, fields.get("address", "127.0.0.1"), cordon=self._cordon(fields))
            for node, fields in files.items()
        ]

    async def look(self, node: NodeId) -> str:
        return "ok" if (self._folder / node).is_file() else "unknown"

    async def cordon(self, node: NodeId, reason: str) -> str:
        if not (fields := self._read(node)):
            return "there is no such node"
        if (found := self._cordon(fields)) is not None:
            return f"cordoned by {found.by} already: {found.reason}"
        self._write(node, fields | {"state": "drained", "who": self._who, "reason": reason})
        return "cordoned"

    async def uncordon(self, node: NodeId) -> str:
        fields = self._read(node)
        found = self._cordon(fields)
        if found is None:
            return "it is not cordoned"
        if not found.ours:
            return f"{found.by} still has it cordoned: {found.reason}"
        self._write(node, {"address": fields.get("address", ""), "state": "idle"})
        return "uncordoned"

    async def start_agent(
        self, node: NodeId, argv: Sequence[str], env: Mapping[str, str], up_within: float = 0.0
    ) -> int:
        raise BackendError(f"{node}: agents are started by whoever starts the node")

    async def restart_control_plane(self) -> str:
        raise BackendError("a folder has nothing that could be started again")

    def _cordon(self, fields: Mapping[str, str]) -> NodeCordon | None:
        if fields.get("state") != "drained":
            return None
        who = fields.get("who", "somebody")
        return NodeCordon(who, fields.get("reason", ""), ours=who == self._who)

    def _read(self, node: NodeId) -> dict[str, str]:
        try:
            lines = (self._folder / node).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise BackendError(f"{node}: {error.strerror}") from None
        return {key: value for key, _, value in (line.partition("=") for line in lines)}

    def _write(self, node: NodeId, fields: Mapping[str, str]) -> None:
        lines = (f"{key}={' '.join(value.split())}\n" for key, value in fields.items())
        private.write(self._folder / node, "".join(lines).encode())


class NoDaemon:
    """A folder has no process on its nodes."""

    def look(self, ranks: Iterable[RankProcess]) -> None:
        return None


def connect(settings: Settings) -> Backend:
    return Backend(FileNodes(settings.cluster.state_dir / "nodes", f"sentinel/{settings.cluster.name}"))


def unready(settings: Settings, *, token: bool = False) -> str:
    return ""


def daemon(address: str, *, was_seen: bool) -> NoDaemon:
    return NoDaemon()
