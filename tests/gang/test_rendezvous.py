"""Members of a generation meet where others can disturb them, and decide nothing."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

pytest.importorskip("torch")

import torch.distributed as dist

from sentinel.gang import rendezvous
from sentinel.gang.group import Group, is_collective_error
from sentinel.gang.rendezvous import SealedStore, store_key
from sentinel.gang.snapshot_keys import job_key

HOST = "127.0.0.7"
JOB = job_key(b"a secret of this cluster", "moe")
KEY = store_key(JOB, "journal", 3)


@pytest.fixture
def served() -> tuple[Any, rendezvous.Listener]:
    return rendezvous.serve(HOST, 2, 5.0)


@pytest.fixture
def stranger(served: tuple[Any, rendezvous.Listener]) -> Any:
    """He has reached the store's port, and knows all that torch does."""
    return rendezvous.join(HOST, served[1].port, 2, 1.0)


@pytest.fixture
def member(served: tuple[Any, rendezvous.Listener]) -> SealedStore:
    return SealedStore(rendezvous.join(HOST, served[1].port, 2, 1.0), KEY)


def test_members_read_what_members_wrote(
    served: tuple[Any, rendezvous.Listener], member: SealedStore
) -> None:
    first = SealedStore(served[0], KEY)
    first.set("text", "words")
    first.set("bytes", b"\0\xff")
    member.set("empty", "")
    assert (member.get("text"), member.get("bytes"), first.get("empty")) == (b"words", b"\0\xff", b"")
    assert (first.add("count", 2), member.add("count", 3)) == (2, 5)
    assert member.check(["text"])
    assert not member.check(["none"])
    member.wait(["text"])
    with pytest.raises(dist.DistStoreError):
        member.wait(["none"], timedelta(seconds=0.05))


def test_the_store_listens_until_the_last_member_is_in(served: tuple[Any, rendezvous.Listener]) -> None:
    def first() -> None:
        rendezvous.meet(SealedStore(served[0], KEY), 0, 2, 5.0)
        served[1].shut()

    with ThreadPoolExecutor(1) as pool:
        meets = pool.submit(first)
        with pytest.raises(TimeoutError):
            meets.result(0.5)
        late = SealedStore(rendezvous.join(HOST, served[1].port, 2, 1.0), KEY)
        rendezvous.meet(late, 1, 2, 5.0)
        meets.result(5.0)
    with pytest.raises(TimeoutError):
        socket.create_connection((HOST, served[1].port), 0.3)


def test_a_member_that_does_not_come_is_waited_for_no_longer_than_said(
    served: tuple[Any, rendezvous.Listener],
) -> None:
    with pytest.raises(dist.DistStoreError):
        rendezvous.meet(SealedStore(served[0], KEY), 0, 2, 0.1)


@pytest.mark.parametrize(
    "meddle",
    [
        pytest.param(lambda store, _key, _value: b"", id="empty"),
        pytest.param(lambda store, _key, _value: b'[99, "theirs"]', id="without a seal"),
        pytest.param(lambda store, _key, value: value[:-1] + b"!", id="changed"),
        pytest.param(lambda store, _key, _value: store.get("another"), id="sealed for another key"),
        pytest.param(
            lambda store, _key, _value: (
                SealedStore(store, store_key(JOB, "journal", 2))._seal("owner", b"x") + b"x"
            ),
            id="of another generation",
        ),
        pytest.param(
            lambda store, _key, _value: (
                SealedStore(store, store_key(JOB, "lost", 3))._seal("owner", b"x") + b"x"
            ),
            id="of another journal",
        ),
        pytest.param(
            lambda store, _key, _value: SealedStore(store, b"")._seal("owner", b"x") + b"x", id="by no key"
        ),
    ],
)
def test_a_value_that_somebody_else_wrote_is_not_believed(
    member: SealedStore, stranger: Any, meddle: Any
) -> None:
    member.set("owner", b"null")
    member.set("another", b"null")
    assert member.get("owner") == b"null"
    if "list_keys" in dir(stranger):
        assert "owner" in stranger.list_keys(), "to guess a name is not even needed"
    stranger.set("owner", meddle(stranger, "owner", stranger.get("owner")))
    with pytest.raises(dist.DistStoreError, match="of somebody who is no member") as caught:
        member.get("owner")
    assert is_collective_error(caught.value), "which accuses nobody"


def test_the_store_listens_at_the_jobs_own_address_alone(served: tuple[Any, rendezvous.Listener]) -> None:
    for other in ("127.0.0.1", "127.0.0.8"):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((other, served[1].port), timeout=5.0)


def test_once_all_have_met_nobody_comes_in_and_those_who_are_in_stay(
    served: tuple[Any, rendezvous.Listener], member: SealedStore
) -> None:
    served[1].shut()
    with pytest.raises(TimeoutError):
        socket.create_connection((HOST, served[1].port), timeout=0.2)
    member.set("late", b"still")
    assert SealedStore(served[0], KEY).get("late") == b"still"


def test_who_holds_many_connections_and_says_nonsense_keeps_no_member_out(
    served: tuple[Any, rendezvous.Listener],
) -> None:
    with contextlib.ExitStack() as open_:
        for number in range(300):
            each = open_.enter_context(socket.create_connection((HOST, served[1].port), timeout=5.0))
            with contextlib.suppress(OSError):
                each.sendall(bytes([number % 256]) * 100)
        late = SealedStore(rendezvous.join(HOST, served[1].port, 2, 5.0), KEY)
        late.set("here", b"I am")
        assert SealedStore(served[0], KEY).get("here") == b"I am"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_that_no_descriptor_is_left_accuses_nobody(number: int) -> None:
    assert is_collective_error(OSError(number, os.strerror(number)))
    assert not is_collective_error(OSError(errno.ENOENT, "no such file"))


@pytest.fixture
def loopback(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.mark.usefixtures("loopback")
def test_an_address_that_a_stranger_put_there_ends_the_forming(
    served: tuple[Any, rendezvous.Listener], stranger: Any
) -> None:
    """The other rank's place, where gloo would have connected to."""
    group = Group("gloo", 0, 2, 3, 60.0)
    for key in ("g3/0//cpu//0/1", "g3/default_pg/0//cpu//0/1", "default_pg/g3/0//cpu//0/1"):
        stranger.set(key, bytes(170))
    with pytest.raises(RuntimeError, match="of somebody who is no member") as caught:
        group.form(SealedStore(served[0], KEY))
    group.leave(failed=True)
    assert is_collective_error(caught.value)


@pytest.mark.usefixtures("loopback")
def test_a_group_forms_in_it(served: tuple[Any, rendezvous.Listener]) -> None:
    group = Group("gloo", 0, 1, 3, 60.0)
    group.form(SealedStore(served[0], KEY))
    dist.barrier()
    assert group.leave(failed=False)
