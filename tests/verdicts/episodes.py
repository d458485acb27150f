"""Episodes of outside events, each from its seed; `python -m tests.verdicts.episodes` writes them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

FILE = Path(__file__).with_name("episodes.yaml")
COUNT = 100
WATCHED = 24
"""More of them, of a job that somebody else starts; every second one has a command that starts it again."""
MOST = 6
"""Mishaps of one episode."""
WAITS = (0.05, 0.4, 1.5, 5.0, 12.0, 40.0)
CALM_S = 45.0
"""After all is well again: longer than any wait of the policy's."""
ENDS = ("signal 9", "signal 9", "signal 11", "signal 6", "exit 1", "signal 15", "unknown")
POLICIES: tuple[dict[str, Any], ...] = (
    *({"evict_share": 0.4},) * 7,
    {},
    {"evict_share": 0.4, "evict_confidence": 0.82},
    {"crashes_per_hour": 2},
    {"observe_only": True},
)
XIDS = {
    31: "MMU Fault: ENGINE GRAPHICS GPC1 GPCCLIENT_T1_8 faulted",
    48: "DBE (double bit error) ECC Error",
    79: "GPU has fallen off the bus.",
    94: "Contained: SM (0x1). RST: No, D-RST: No",
    119: "Timeout waiting for RPC from GSP! Expected function 76",
}
PORTS = (("refused", "refused"), ("timeout", "timeout"), ("refused", "ok"), ("ok", "ok"))

Plain = dict[str, Any]


class Episode:
    """One cluster, and what happens on it."""

    def __init__(self, seed: int) -> None:
        self._chance = chance = Random(seed)
        self.nodes, self.gpus = chance.choice((1, 2, 3, 3, 4, 4, 5, 6)), chance.randint(1, 2)
        self.world = max(chance.randint(1, min(5, self.nodes * self.gpus)) for _ in range(2))
        self.standbys = chance.choice((0, 1, 1, 1, 2))
        self.policy = chance.choice(POLICIES)
        self.watched = seed >= COUNT
        self.kinds: list[str] = []
        self.steps: list[Plain] = [{"run": 1}]
        self._second, self._lines = False, 0
        for _ in range(chance.randint(2, MOST)):
            kind = chance.choice([each for each in KINDS if not (self.watched and each == "standby-dies")])
            self.kinds.append(kind)
            self.steps += MISHAPS[kind](self)
            self.steps.append({"run": chance.choice(WAITS)})
        self.steps += [*self._all_is_well(), {"run": CALM_S}]
        if self.watched:  # people start it again, on what is there
            self.steps += [{"starts": []}, {"run": CALM_S}]

    def document(self, seed: int) -> str:
        """Give it as a scenario file does, a step a line."""
        cluster = {"nodes": self.nodes, "gpus": self.gpus, "world": self.world, "standbys": self.standbys}
        if self.watched:
            del cluster["standbys"]
            cluster |= {"watched": True, "restart_command": bool(seed % 2)}
        head = {"id": f"episode-{seed:02}", "title": ", ".join(self.kinds), "cluster": cluster}
        if self.policy:
            head["policy"] = self.policy
        lines = [f"{key}: {json.dumps(value)}" for key, value in head.items()]
        steps = [f"- {key}: {json.dumps(value)}" for step in self.steps for key, value in step.items()]
        return "\n".join([*lines, "steps:", *steps, ""])

    # --- who and where ---------------------------------------------------------------------------------

    def rank(self) -> int:
        return self._chance.randrange(self.world)

    def node(self) -> str:
        return f"n{self._chance.randint(1, self.nodes)}"

    def seat(self) -> tuple[int, str, int]:
        """Choose a rank, and its node and GPU when the episode began."""
        rank = self.rank()
        return rank, f"rank{rank}", rank % self.gpus

    def pick(self, *among: Any) -> Any:
        return self._chance.choice(among)

    def everybody(self) -> list[str]:
        return [f"n{number}" for number in range(1, self.nodes + 1)]

    def line(self, node: str, gpu: int, xid: int, pid: str, name: str) -> Plain:
        self._lines += 1
        said = f"[{400 + self._lines}.5] NVRM: Xid (PCI:0000:{gpu + 1:02x}:00): {xid}, pid={pid}, name={name}"
        return {"kernel": [node, f"{said}, {XIDS[xid]}"]}

    # --- what goes wrong -------------------------------------------------------------------------------

    def crash(self) -> Iterator[Plain]:
        yield {"crash": [self.rank(), self.pick(*ENDS)]}

    def standby_dies(self) -> Iterator[Plain]:
        yield {"standby_dies": [self.node()]}

    def hang(self) -> Iterator[Plain]:
        yield {"beat": [self.rank(), {"state": self.pick("T", "T", "t")}]}

    def missing(self) -> Iterator[Plain]:
        """A rank's beat thread does not run."""
        yield {"beat": [self.rank(), {"beat_age_s": 60.0}]}

    def loader(self) -> Iterator[Plain]:
        ranks = self.pick([self.rank()], [self.rank()], range(self.world))
        yield from ({"beat": [rank, {"phase": "data"}]} for rank in ranks)

    def underway(self) -> Iterator[Plain]:
        """A rank loads or saves for a while, which is no hang."""
        rank, seconds = self.rank(), self.pick(3, 8, 20)
        yield from ({"beat": [rank, {"phase": self.pick("load", "save")}]}, {"run": seconds})
        yield {"beat": [rank, {}]}

    def xid(self) -> Iterator[Plain]:
        """The kernel accuses a rank's GPU; the rank dies of it, before or after, or not."""
        rank, node, gpu = self.seat()
        line = self.line(node, gpu, self.pick(*XIDS), f"{{pid{rank}}}", "python3")
        death = {"crash": [rank, self.pick("signal 6", "signal 9", "exit 1")]}
        yield from self.pick([line], [line, death], [death, line], [death, {"run": 0.2}, line])

    def strangers_xid(self) -> Iterator[Plain]:
        """The kernel speaks of somebody else's process."""
        yield self.line(self.node(), self._chance.randrange(self.gpus), 31, "98765", "blender")

    def ecc(self) -> Iterator[Plain]:
        rank, node, gpu = self.seat()
        fields = {"gpu": [self.pick(node, node, self.node()), gpu, {"ecc_uncorrectable": self.pick(1, 3)}]}
        death = {"crash": [rank, "exit 1"]}
        yield from self.pick([fields], [fields, {"run": 0.1}, death], [death, {"run": 0.1}, fields])

    def lost(self) -> Iterator[Plain]:
        _, node, gpu = self.seat()
        yield {"gpu": [node, gpu, {"present": False, "error": "GPU is lost"}]}

    def throttled(self) -> Iterator[Plain]:
        """Brief or lasting: 0x8 is the hardware's slowdown, 0x40 heat."""
        _, node, gpu = self.seat()
        yield {"gpu": [node, gpu, {"throttle_reasons": self.pick(0x8, 0x48)}]}
        if self.pick(True, False):
            yield from ({"run": self.pick(2, 10)}, {"gpu": [node, gpu, {"throttle_reasons": 0}]})

    def told_by_rank(self) -> Iterator[Plain]:
        code, said = self.pick(("disk-full", "no space left"), ("checkpoint-corrupt", "step 7 is damaged"))
        for health in ("warning", *self.pick((), ("ok",))):
            found = {"check": "trainer", "code": code, "component": "checkpoints", "health": health}
            yield from ({"finding": ["rank0", found | {"summary": said}]}, {"run": 2})

    def killed_for_memory(self) -> Iterator[Plain]:
        rank, node, _ = self.seat()
        pid, name = self.pick((f"{{pid{rank}}}", "python3"), ("98765", "chrome"))
        yield {"kernel": [node, f"[500.1] Out of memory: Killed process {pid} ({name}) total-vm:9kB"]}
        if name == "python3":
            yield {"crash": [rank, "signal 9"]}

    def raises(self) -> Iterator[Plain]:
        kind = self.pick("user", "user", "nan", "collective", "restore", "evicted")
        yield {"raise": [self.rank(), f"a {kind} error", kind]}

    def code_raises(self) -> Iterator[Plain]:
        who, kind = self.pick((self.rank(), "user"), (self.node(), "user"), (self.rank(), "nan"))
        yield {"code_raises": [who, "ValueError: 7", kind]}

    def cut(self) -> Iterator[Plain]:
        many = self.everybody()[: self.pick(1, 2, 3)]
        nodes = self.pick([self.node()], [self.node()], many)
        how = self.pick("silence", "silence", "control_cut", "node_dies")
        yield {how: nodes}
        if how == "silence" and self.pick(True, False):
            agent, raylet = self.pick(*PORTS)
            yield from ({"ports": [node, agent, raylet]} for node in nodes)
        yield {"run": self.pick(0, 2, 4, 8)}

    def heard(self) -> Iterator[Plain]:
        yield {"heard": self.pick(self.everybody(), [self.node()])}

    def agent(self) -> Iterator[Plain]:
        yield {"agent_dies": self.node()}

    def slow(self) -> Iterator[Plain]:
        rank = self.rank()
        yield from ({"slow": [rank, self.pick(2.5, 4.0)]}, {"run": self.pick(3, 30, 30)})
        if self.pick(True, False):
            yield {"slow": [rank, 1.0]}

    def control(self) -> Iterator[Plain]:
        what, gone = self.pick(("gcs", "lost"), ("journal", "failed"))
        yield {what: gone}
        if self.pick(True, False):
            yield from ({"run": self.pick(1, 5)}, {what: "back"})

    def command(self) -> Iterator[Plain]:
        yield {"command": [self.pick("stop-actions", "resume-actions", "resume-actions")]}

    def drain(self) -> Iterator[Plain]:
        yield {"command": ["drain", self.node()]}

    def undrain(self) -> Iterator[Plain]:
        yield {"command": ["undrain", self.node()]}

    def second_job(self) -> Iterator[Plain]:
        self._second = True
        yield {"submit": ["other", self.pick(1, min(2, self.nodes * self.gpus)), self.pick(0, 1)]}

    def restart(self) -> Iterator[Plain]:
        if dead := self.pick(0, 0.5, 5, 15):
            yield from ({"controller_dies": 1}, {"run": dead})
        yield {"controller_restarts": 1}

    def trouble(self) -> Iterator[Plain]:
        yield {"fails": self.pick(["resume"], ["evict"], ["restart-agent"], ["stacks", "stop-worker"], [])}
        yield {"never_starts": self.pick([self.node()], [])}

    # --- and is over -----------------------------------------------------------------------------------

    def _all_is_well(self) -> Iterator[Plain]:
        """Whatever was wrong is over, and whoever was away is back."""
        yield from ({"fails": []}, {"never_starts": []}, {"code_is_fixed": 1}, {"heard": self.everybody()})
        touched = {(g[0], g[1]) for step in self.steps for key, g in step.items() if key == "gpu"}
        well = {"present": True, "error": "", "ecc_uncorrectable": 0, "throttle_reasons": 0}
        yield from ({"gpu": [node, index, well]} for node, index in sorted(touched))
        yield from ({"beat": [rank, {}]} for rank in range(self.world))
        yield from ({"slow": [rank, 1.0]} for rank in range(self.world))
        yield from ({"gcs": "back"}, {"journal": "back"}, {"run": 3})
        yield from ({"command": ["undrain", node]} for node in self.everybody())
        yield {"command": ["resume-actions"]}
        if self._second:
            yield {"command": ["stop-job", "other"]}


MISHAPS: dict[str, Callable[[Episode], Iterator[Plain]]] = {
    "crash": Episode.crash,
    "standby-dies": Episode.standby_dies,
    "hang": Episode.hang,
    "missing": Episode.missing,
    "loader": Episode.loader,
    "underway": Episode.underway,
    "xid": Episode.xid,
    "strangers-xid": Episode.strangers_xid,
    "ecc": Episode.ecc,
    "lost": Episode.lost,
    "throttled": Episode.throttled,
    "told-by-rank": Episode.told_by_rank,
    "killed-for-memory": Episode.killed_for_memory,
    "raises": Episode.raises,
    "code-raises": Episode.code_raises,
    "cut": Episode.cut,
    "heard": Episode.heard,
    "agent": Episode.agent,
    "slow": Episode.slow,
    "control": Episode.control,
    "command": Episode.command,
    "drain": Episode.drain,
    "undrain": Episode.undrain,
    "second-job": Episode.second_job,
    "restart": Episode.restart,
    "trouble": Episode.trouble,
}
KINDS = (*MISHAPS, *("hang", "loader", "slow", "cut", "code-raises") * 2, "crash", "xid")
"""Those that form incidents more often than those that only disturb what is done about them."""


def text() -> str:
    """Give the file as it must be."""
    return "---\n".join(Episode(seed).document(seed) for seed in range(COUNT + WATCHED))


if __name__ == "__main__":
    FILE.write_text(text())
