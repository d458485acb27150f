"""Hosts on one machine: each an address, a directory, simulated devices, perhaps a network namespace."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from sentinel.demo import nvml as stand_in
from sentinel.demo.network import netns_file

SERVICES = ("sentinel.runtime.", "sentinel.backends.")
"""Modules that stay, as `sentinel up` starts them."""
GPUS_MET = "gpus.nvml"
"""In a host's directory: what the stand-in driver says of its GPUs, written with the device file."""


@dataclass(frozen=True, slots=True)
class Host:
    """One simulated machine; everything that `run` starts in it, and what that starts, belongs to it."""

    name: str
    address: str
    root: Path
    cluster: str
    netns: str | None = None
    gpus: int = 0
    nvml: bool = False
    """Real GPUs and the real kernel log instead of simulated ones."""
    driver: Path | None = None
    """The stand-in for NVIDIA's library: the simulated GPUs are met through it, as real ones are."""

    @property
    def device_file(self) -> Path:
        """The simulated GPUs, as JSON that a person may edit while it runs."""
        return self.root / "gpus.json"

    @property
    def kernel_log(self) -> Path:
        """Stands for `/dev/kmsg`, unless the GPUs are real."""
        return Path("/dev/kmsg") if self.nvml else self.root / "kernel.log"

    @property
    def memory(self) -> Path:
        """The host's shared-memory directory: heartbeat records and snapshots."""
        return Path("/dev/shm") / f"sentinel-{self.cluster}" / self.name  # noqa: S108 (that is where it lives)

    @property
    def env(self) -> dict[str, str]:
        """Environment of everything on this host; Ray's workers inherit it from their raylet."""
        simulated = {
            "SENTINEL_GPUS": f"simulated:{self.device_file}",
            "SENTINEL_DEVICE_FILE": str(self.device_file),
        }
        if self.driver is not None:
            simulated |= {"SENTINEL_GPUS": "nvml", **stand_in.environment(self.driver, self.root / GPUS_MET)}
        return {
            "SENTINEL_NODE": self.name,
            "SENTINEL_ADDRESS": self.address,
            **({"SENTINEL_GPUS": "nvml"} if self.nvml else simulated),
            "SENTINEL_KERNEL_LOG": str(self.kernel_log),
            "SENTINEL_MEMORY": str(self.memory),
            "SENTINEL_HOST_ROOT": str(self.root),
        }

    @property
    def enter(self) -> tuple[str, ...]:
        """Command prefix that runs a program on this host's network; empty on loopback."""
        return ("nsenter", f"--net={self.network}") if self.netns else ()

    @property
    def network(self) -> Path:
        """The file that stands for this host's network namespace."""
        return netns_file(self.netns) if self.netns else Path("/proc/self/ns/net")

    def prepare(self) -> None:
        """Make the host's directories and device files."""
        self.root.mkdir(parents=True)
        self.memory.mkdir(mode=0o700, parents=True)
        if not self.nvml:
            self.kernel_log.touch()
        self.write_gpus([healthy_gpu(self.name, index) for index in range(self.gpus)])

    def gpu_states(self) -> list[dict[str, Any]]:
        """Read the simulated GPUs."""
        states: list[dict[str, Any]] = json.loads(self.device_file.read_text())["gpus"]
        return states

    def write_gpus(self, states: Sequence[Mapping[str, Any]]) -> None:
        """Replace the simulated GPUs at once: a reader sees the old file or the new one."""
        draft = self.device_file.with_suffix(".new")
        draft.write_text(json.dumps({"gpus": list(states)}, indent=2) + "\n")
        draft.replace(self.device_file)
        if self.driver is not None:
            stand_in.StandIn(self.root / GPUS_MET, len(states), [stand_in.keys_of(state) for state in states])

    def run(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, **popen: Any
    ) -> "subprocess.Popen[Any]":
        """Start a program inside the host, in a session of its own; the handle's pid is the program's."""
        options: dict[str, Any] = {"cwd": self.root, "start_new_session": True} | popen
        return subprocess.Popen(
            [*self.enter, *argv], env={**os.environ, **self.env, **(env or {})}, **options
        )

    def processes(self) -> list[psutil.Process]:
        """Every living process that belongs to this host."""
        return processes_below([self.root])


def healthy_gpu(node: str, index: int) -> dict[str, Any]:
    """The device-file entry of a simulated GPU without faults."""
    return {
        "index": index,
        "uuid": f"GPU-{node}-{index}",
        "pci": f"0000:{index + 1:02x}:00",
        "present": True,
        "ecc_uncorrectable": 0,
        "ecc_corrected": 0,
        "remap_pending": False,
        "remap_failed": False,
        "temperature_c": 45,
        "throttle_reasons": 0,
        "xids": [],
        "speed": 1.0,
        "corrupt": False,
    }


def processes_below(roots: Iterable[Path]) -> list[psutil.Process]:
    """Living processes of the hosts with these root directories, and their descendants.

    The environment names the host even after a double fork. Programs that rewrite their title overwrite it
    (Ray's agents do): those still have a parent that belongs, or the host's directory and no terminal;
    a person who looks around in that directory has one.
    """
    wanted = {str(root) for root in roots}
    processes = list(psutil.process_iter())
    found = {process.pid: process for process in processes if _belongs(process, wanted)}
    grown = -1
    while grown != len(found):
        grown = len(found)
        found |= {process.pid: process for process in processes if _parent(process) in found}
    found.pop(os.getpid(), None)
    return list(found.values())


def kill_all(roots: Sequence[Path], timeout: float = 10.0) -> None:
    """SIGKILL every process of these hosts until none is left; TimeoutError after `timeout` seconds.

    Two looks in a row must find none: a process that is just executing a program shows no environment.
    """
    deadline = time.monotonic() + timeout
    while living := processes_below(roots) or processes_below(roots):
        for process in living:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(living, timeout=0.5)
        if time.monotonic() > deadline:
            raise TimeoutError(f"still alive after {timeout:g} s: {[process.pid for process in living]}")


def remove_files(hosts: Iterable[Host]) -> None:
    """Remove the hosts' directories and shared memory."""
    for host in hosts:
        shutil.rmtree(host.root, ignore_errors=True)
        shutil.rmtree(host.memory, ignore_errors=True)
        with suppress(OSError):
            host.memory.parent.rmdir()


def _belongs(process: psutil.Process, roots: set[str]) -> bool:
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        if process.environ().get("SENTINEL_HOST_ROOT") in roots or _was_told(process, roots):
            return True
        return process.cwd() in roots and process.terminal() is None
    except (psutil.Error, OSError):
        return False


def _was_told(process: psutil.Process, roots: set[str]) -> bool:
    """Say whether it is Sentinel's or Ray's, with these directories in its command, whoever typed that."""
    program, *arguments = process.cmdline() or [""]
    ours = any(each.startswith(SERVICES) for each in arguments) or Path(program).name == "gcs_server"
    return ours and any(f"{root}/" in f"{each}/" for each in arguments for root in roots)


def _parent(process: psutil.Process) -> int | None:
    try:
        return None if process.status() == psutil.STATUS_ZOMBIE else process.ppid()
    except psutil.Error:
        return None
