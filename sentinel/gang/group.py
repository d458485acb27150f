"""The process group of one generation: forming it, and getting out of it when a peer is gone."""

import contextlib
import errno
import os
import re
import socket
import threading
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import torch
import torch.distributed as dist

from sentinel import private

COLLECTIVE_WORDS = re.compile(
    r"gloo|nccl|c10d|process ?group|connection (closed|reset|refused)|broken pipe|socket|TCPStore|recvValue",
    re.IGNORECASE,
)
"""gloo and NCCL raise plain RuntimeErrors; their own words tell them from the user's."""


def is_collective_error(error: BaseException) -> bool:
    """Tell a failed collective, which is a peer's fault, from an error of the training code.

    That no descriptor is left is nobody's: strangers may hold them.
    """
    if isinstance(error, dist.DistError) or getattr(error, "errno", None) in (errno.EMFILE, errno.ENFILE):
        return True
    return isinstance(error, RuntimeError) and COLLECTIVE_WORDS.search(str(error)) is not None


def backend_for(wanted: str) -> str:
    """Resolve `auto`."""
    if wanted != "auto":
        return wanted
    return "nccl" if torch.cuda.is_available() else "gloo"


MEET_S = 6.0
"""Members come within 0.1 s of each other, unless one is in the middle of a long computation."""
Sockets = set[tuple[int, str]]
"""(file descriptor, socket identity) pairs."""


def sockets() -> Sockets:
    """List this process's open sockets."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if target.startswith("socket:"):
                found.add((int(entry.name), target))
    return found


def _connection(own: socket.socket) -> set[int]:
    """Both ports of a TCP connection; empty for anything else.

    A listening socket stays alone: gloo's accepting thread ends the process when it is shut down.
    """
    if own.family not in (socket.AF_INET, socket.AF_INET6):
        return set()
    try:
        return {own.getsockname()[1], own.getpeername()[1]}
    except OSError:
        return set()


class Group:
    """The default process group of one generation."""

    def __init__(self, backend: str, rank: int, world: int, generation: int, timeout_s: float) -> None:
        self.backend, self.rank, self.world, self.generation = backend, rank, world, generation
        self._timeout = timedelta(seconds=timeout_s)
        self._before = sockets()
        self._included: Sockets = set()
        self._store: dist.Store | None = None
        self._kept = list[Any]()
        self._ending = threading.RLock()
        """Held while a group is aborted, and from when it is left for good: torch takes no two at once."""
        self.aborted = False

    def form(self, store: "dist.Store") -> None:
        """Join; raises a collective error when a member does not come in time.

        A member that dies after it told its address leaves gloo waiting for a connection, with no socket
        to shut down: only a short timeout ends that. Collectives may take longer.
        """
        self._store = store  # torch keeps its own half of it alive, not the half that is Python
        prefixed = dist.PrefixStore(f"g{self.generation}", store)
        options: dict[str, Any] = {"store": prefixed, "rank": self.rank, "world_size": self.world}
        if self.backend == "nccl":
            keep_watchdog_quiet()
        dist.init_process_group(self.backend, timeout=timedelta(seconds=MEET_S), **options)
        dist.distributed_c10d._set_pg_timeout(self._timeout)

    def include(self, own: Sockets) -> None:
        """Count these sockets, opened before, as the group's."""
        self._included = own

    def abort(self, spare: Iterable[int] = ()) -> None:
        """Free a thread that waits in a collective, from another thread.

        gloo has no abort: shutting its sockets down makes every wait raise within 40 ms (measured).
        In an actor Ray's sockets are there too: those from before the group was formed stay. A Ray
        connection opened since is shut down with the group's, and Ray opens it again. `spare` are ports
        of the next generation's store, whose members may have come already.
        """
        self.aborted = True
        if self.backend == "nccl" and self._ending.acquire(blocking=False):
            self._abort_nccl()
            self._ending.release()
        spared = set(spare)
        for number, _ in (sockets() - self._before) | self._included:
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(number)) as own:
                if (ports := _connection(own)) and not ports & spared:
                    own.shutdown(socket.SHUT_RDWR)

    def _abort_nccl(self) -> None:
        self._kept.extend(dist.distributed_c10d._world.pg_map)
        with contextlib.suppress(Exception):
            dist.distributed_c10d._abort_process_group()

    def leave(self, failed: bool) -> bool:
        """Forget the group, and say whether nothing of it is left.

        Never waits for peers: unless all leave after the same step, they may never come to what this rank
        left on its GPU, and NCCL waits for that.
        """
        self._ending.acquire()
        if failed and self.backend == "nccl":
            self._abort_nccl()
        with contextlib.suppress(Exception):
            dist.destroy_process_group()
        # Group names are numbered per process and part of the rendezvous; a failed attempt leaves the count.
        dist.distributed_c10d._world.group_count = 0
        return not dist.is_initialized()

    def let_go(self) -> None:
        """Drop what an abort left of the group; to be called when nothing else holds it.

        The last to drop a group of NCCL's joins its watchdog, which may be busy with the error that it
        found. So that is not the thread that trains.
        """
        if self._kept:
            threading.Thread(target=self._kept.clear, name="let-go", daemon=True).start()


def use_interface(address: str) -> None:
    """Have gloo talk over the interface that holds this address, unless somebody chose one.

    Left alone it takes what the host's name resolves to, which may be the loopback.
    """
    for name, addresses in psutil.net_if_addrs().items():
        if any(known.address == address for known in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)


WATCHDOG = {
    "TORCH_NCCL_ASYNC_ERROR_HANDLING": "0",
    "TORCH_NCCL_DUMP_ON_TIMEOUT": "0",
    "TORCH_NCCL_WAIT_TIMEOUT_DUMP_MILSEC": "100",
}
"""What keeps torch's watchdog from ending a survivor, and from standing in its way: by default it waits over
a minute after an error, with the lock that the next collective needs."""


def keep_watchdog_quiet() -> None:
    """Leave what becomes of an NCCL error to the gang, unless somebody chose otherwise."""
    for name, value in WATCHDOG.items():
        os.environ.setdefault(name, value)


def job_path(job_dir: str, *parts: str) -> Path:
    """Path inside the job's directory, made if missing. Raises OSError, also for another user's link."""
    path = Path(job_dir, *parts)
    private.make_shared_folder(path.parent)
    return path
