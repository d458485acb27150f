"""Connections whose other end has not shown who it is: so many, for so long, and then they are cut."""

import contextlib
import os
import resource
import socket
import threading
import time
from typing import Any

from sentinel.model.ids import Seconds

GREET_S: Seconds = 10.0
"""Who has a key shows it within milliseconds; a loaded machine may take seconds."""
ROOM = 1024
Place = tuple[Any, ...]
"""Address and port of the other end: what no two connections share, as descriptors do over time."""


def raise_descriptor_limit() -> int:
    """Let this process open as many files as it may; gives how many. Never raises."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def most_strangers(known: int) -> int:
    """Say how many there may be: all who are known may come at once, and most of our files are for others."""
    return min(known + ROOM, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)


class _Grip:
    """Holds on to what a descriptor is now, while its owner may close it; needs no file that is free."""

    def __init__(self) -> None:
        self._nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._held = os.dup(self._nothing)

    def close(self) -> None:
        os.close(self._held)
        os.close(self._nothing)

    def place(self, descriptor: int, *, cut: Place | None = None) -> Place | None:
        """Say where a connection's other end is, None where this is none; end it, if it is that one."""
        try:
            os.dup2(descriptor, self._held, inheritable=False)
            sock = socket.socket(fileno=self._held)
        except (OSError, ValueError):
            return None
        try:
            place = sock.getpeername()
            if place == cut:
                sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return None
        finally:
            sock.detach()
            os.dup2(self._nothing, self._held, inheritable=False)
        return place if isinstance(place, tuple) else None


class Strangers:
    """Hears of each connection that comes, goes or becomes known; cuts the oldest and those that are late.

    Several threads may tell.
    """

    def __init__(self) -> None:
        self._lock, self._grip = threading.Lock(), _Grip()
        self._waiting: dict[Place, tuple[int, Seconds]] = {}
        """Descriptor, and since when, oldest first."""
        self._known: set[Place] = set()
        self._places: dict[int, Place] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def came(self, descriptor: int) -> None:
        """Count a connection among the strangers, unless it has shown already who it is."""
        with self._lock:
            place = self._grip.place(descriptor)
            if place is not None and place not in self._known:
                self._places[descriptor] = place
                self._waiting[place] = descriptor, time.monotonic()

    def left(self, descriptor: int) -> None:
        """Forget a connection that has ended, unless the descriptor is another one's by now."""
        with self._lock:
            place = self._places.get(descriptor)
            if place is not None and self._grip.place(descriptor) != place:
                del self._places[descriptor]
                self._waiting.pop(place, None)
                self._known.discard(place)

    def is_known(self, descriptor: int) -> Place | None:
        """Keep a connection, which has shown who it is; gives where it comes from, None if it has ended."""
        with self._lock:
            place = self._grip.place(descriptor)
            if place is not None:
                self._waiting.pop(place, None)
                self._known.add(place)
                self._places[descriptor] = place
            return place

    def is_known_no_more(self, descriptor: int, place: Place | None) -> None:
        """Let a connection go, in a while: another one stands for its node, or its key was revoked."""
        with self._lock:
            if place in self._known:
                self._known.discard(place)
                self._waiting[place] = descriptor, time.monotonic()

    def send_away(self, most: int) -> None:
        """Cut the oldest of those that are too many, and all that have taken too long."""
        with self._lock:
            late = time.monotonic() - GREET_S
            while self._waiting:
                place, (descriptor, since) = next(iter(self._waiting.items()))
                if len(self._waiting) <= most and since >= late:
                    return
                del self._waiting[place]
                self._grip.place(descriptor, cut=place)

    def close(self) -> None:
        """Hear of nothing any more."""
        with self._lock:
            self._waiting.clear()
            self._grip.close()
