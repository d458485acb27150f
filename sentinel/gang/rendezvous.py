"""Where the members of a generation meet: rank 0's TCPStore, in which only what a member has sealed counts.

The store itself asks nobody who he is, and lists its keys. So it listens at the job's address alone and takes
no connections once all have met; and each value carries an HMAC over its key, by a key of this generation of
this job. Whoever reaches it may keep a generation from forming, and decides nothing else.
"""

import ctypes
import hmac
import socket
import struct
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from sentinel.gang.snapshot_keys import KEY_BYTES, derive
from sentinel.model.ids import Seconds

_SO_ATTACH_FILTER = 26
_DROP_ALL = struct.pack("=HBBI", 0x06, 0, 0, 0)
"""A socket filter of one instruction, `ret 0`: no packet comes through."""
_IN = "in/"


class SealedStore(dist.Store):  # type: ignore[misc]
    """A store whose values only the members of one generation can write.

    A value that none of them wrote raises DistStoreError. Counters have no seal: they only count.
    """

    def __init__(self, store: dist.Store, key: bytes) -> None:
        super().__init__()
        self._store, self._key = store, key

    def set(self, key: str, value: str | bytes) -> None:
        """Seal a value and set it."""
        plain = value.encode() if isinstance(value, str) else bytes(value)
        self._store.set(key, self._seal(key, plain) + plain)

    def get(self, key: str) -> bytes:
        """Wait for a value. Raises DistStoreError when it is no member's."""
        sealed = self._store.get(key)
        seal, plain = sealed[:KEY_BYTES], sealed[KEY_BYTES:]
        if not hmac.compare_digest(seal, self._seal(key, plain)):
            raise dist.DistStoreError(f"the rendezvous store holds {key!r:.80} of somebody who is no member")
        return bytes(plain)

    def _seal(self, key: str, plain: bytes) -> bytes:
        return derive(self._key, key, plain)

    def add(self, key: str, amount: int) -> int:
        """Add to a counter."""
        return int(self._store.add(key, amount))

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Wait until somebody has set all of these."""
        self._store.wait(keys, timeout or self._store.timeout)

    def check(self, keys: Sequence[str]) -> bool:
        """Whether somebody has set all of these."""
        return bool(self._store.check(keys))

    def delete_key(self, key: str) -> bool:
        """Remove a value."""
        return bool(self._store.delete_key(key))

    def set_timeout(self, timeout: timedelta) -> None:
        """Wait for so long from now on."""
        self._store.set_timeout(timeout)

    @property
    def timeout(self) -> timedelta:
        """How long is waited."""
        return self._store.timeout  # type: ignore[no-any-return]

    def has_extended_api(self) -> bool:
        """Only what is above."""
        return False

    def clone(self) -> "SealedStore":
        """The store itself: nobody joins late."""
        return self


class Listener:
    """The socket at which a rendezvous store listens."""

    def __init__(self, host: str) -> None:
        family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
        self._socket = socket.create_server((host, 0), family=family, backlog=1024)
        self.port: int = self._socket.getsockname()[1]

    def descriptor(self) -> int:
        """Give a descriptor for the store, which closes it."""
        return self._socket.dup().detach()

    def shut(self) -> None:
        """Let nobody in any more; who is in stays. Closed, the socket would keep the store's thread busy."""
        code = ctypes.create_string_buffer(_DROP_ALL)
        program = struct.pack("HL", 1, ctypes.addressof(code))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def meet(store: SealedStore, rank: int, world: int, timeout_s: Seconds) -> None:
    """Say that this rank is in; rank 0 waits for all of them. Raises DistStoreError when one does not come.

    Setting up a process group does not wait: gloo's members connect to each other there, NCCL's only in their
    first collective, when a socket that rank 0 had closed by then would have kept the late ones out.
    """
    store.set(f"{_IN}{rank}", b"")
    if rank == 0:
        store.wait([f"{_IN}{each}" for each in range(world)], timedelta(seconds=timeout_s))


def store_key(job_key: bytes, journal: str, generation: int) -> bytes:
    """The key of one generation's rendezvous."""
    return derive(job_key, "rendezvous", journal, generation)


def serve(host: str, world: int, timeout_s: Seconds) -> tuple[Any, Listener]:
    """Serve a generation's store at this address, at a free port."""
    listener = Listener(host)
    store = dist.TCPStore(
        host,
        listener.port,
        world,
        is_master=True,
        timeout=timedelta(seconds=timeout_s),
        wait_for_workers=False,
        master_listen_fd=listener.descriptor(),
    )
    return store, listener


def join(host: str, port: int, world: int, timeout_s: Seconds) -> Any:
    """Join a generation's store. Raises DistError."""
    return dist.TCPStore(
        host,
        port,
        world,
        is_master=False,
        timeout=timedelta(seconds=timeout_s),
        wait_for_workers=False,
    )
