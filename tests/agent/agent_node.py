import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sentinel.adapters import agent_card as card
from sentinel.adapters.transport import Reports
from sentinel.model.ids import NodeId
from sentinel.model.report import Ack, Event, Hello, Order, RankBeat, Report
from tests.enrolled import keys_with

NODE = NodeId("node-7")
DEADLINE_S = 15.0
GPU = {
    "index": 0,
    "uuid": "GPU-0",
    "pci": "0000:01:00",
    "present": True,
    "ecc_uncorrectable": 0,
    "ecc_corrected": 0,
    "remap_pending": False,
    "remap_failed": False,
    "temperature_c": 45,
    "throttle_reasons": 0,
    "speed": 1.0,
    "corrupt": False,
}


@dataclass
class Controller:
    """The other end of the wire: keeps what it hears, acknowledges it, gives orders."""

    reports: Reports
    acknowledging: bool = True
    hellos: list[Hello] = field(default_factory=list)
    beats: tuple[RankBeat, ...] = ()
    events: dict[int, Event] = field(default_factory=dict)
    newest: tuple[int, ...] = ()
    """The numbers of what the newest report tells."""

    async def listen(self) -> None:
        while True:
            node, message = await self.reports.recv()
            if isinstance(message, Hello):
                self.hellos.append(message)
            else:
                await self._take(node, message)

    async def _take(self, node: NodeId, report: Report) -> None:
        self.beats = report.beats
        self.events |= dict(report.events)
        self.newest = tuple(dict(report.events))
        if self.acknowledging:
            await self.reports.send(node, Ack(max(self.events, default=0)))

    async def order(self, order: Order) -> None:
        assert await self.reports.send(NODE, order)

    async def event(self, wanted: Callable[[Event], bool]) -> Event:
        await until(lambda: any(wanted(event) for event in self.events.values()), self)
        return next(event for event in self.events.values() if wanted(event))


async def until(condition: Callable[[], bool], seen: object = "") -> None:
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"did not happen within {DEADLINE_S} s: {seen}") from None


@dataclass
class Node:
    """One node's files, and the processes started on it."""

    root: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = keys_with(self.root / "keys", NODE)
        self.memory = self.root / "sentinel-test" / "m"
        self.memory.mkdir(parents=True)
        self.kernel_log = self.root / "kern.log"
        self.kernel_log.touch()
        self.devices = self.root / "gpus.json"
        self.describe(GPU)

    def describe(self, *gpus: dict[str, object]) -> None:
        draft = self.devices.with_suffix(".new")
        draft.write_text(json.dumps({"gpus": gpus}))
        draft.replace(self.devices)

    def agent(
        self,
        endpoint: str,
        keys: Path | None = None,
        prefix: Sequence[str] = (),
        flags: Sequence[str] = (),
        **options: str,
    ) -> subprocess.Popen[str]:
        given = {
            "controller": endpoint,
            "keys": str(keys or self.root / "keys"),
            "node": NODE,
            "memory": str(self.memory),
            "gpus": f"simulated:{self.devices}",
            "kernel-log": str(self.kernel_log),
            **options,
        }
        flags = [*flags, *(word for name, value in given.items() for word in (f"--{name}", value))]
        return self._start("-m", "sentinel.runtime.agent", *flags, prefix=prefix)

    def rank(self, rank: int = 0) -> subprocess.Popen[str]:
        program = Path(__file__).with_name("rank_program.py")
        process = self._start(str(program), str(self.memory), f"worker-{rank}", str(rank))
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        return process

    def _start(self, *arguments: str, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*prefix, sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        return process

    @asynccontextmanager
    async def watched(self, acknowledging: bool = True) -> AsyncIterator[Controller]:
        """A controller and this node's agent, connected."""
        async with Reports("tcp://127.0.0.1:0", self.keys) as reports:
            controller = Controller(reports, acknowledging)
            listening = asyncio.create_task(controller.listen())
            self.agent(reports.endpoint)
            await until(lambda: bool(controller.hellos), self)
            yield controller
            listening.cancel()

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()

    def agent_card(self) -> card.Card:
        found = card.read(self.memory)
        assert found is not None
        return found


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
