"""Nobody between two ends of a snapshot connection reads a request of his own into it, or changes one."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sentinel.gang import snapshot_wire
from sentinel.gang.snapshot_keys import job_key, word_for
from sentinel.gang.snapshot_messages import Answer, List, Listing, Ready, Request
from sentinel.gang.snapshot_wire import Channel, NotProvenError, connect
from sentinel.gang.snapshots import PeerSender, Slots, SnapshotError, SnapshotHolder, find, snapshots_of

SECRET = b"a secret of this cluster"
KEY = job_key(SECRET, "moe")
Frames = list[bytes]
BEYOND = b"\0" * 4


def exactly(sock: socket.socket, count: int) -> bytes:
    got = b""
    while len(got) < count:
        if not (piece := sock.recv(count - len(got))):
            raise EOFError
        got += piece
    return got


def frame(sock: socket.socket) -> bytes:
    head = exactly(sock, 4)
    return head + exactly(sock, struct.unpack("<I", head)[0] + 16)


def pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    for end in (near, far):
        end.settimeout(5.0)
    return near, far


class Middle:
    """A caller, a holder, and somebody in between who passes on the greeting as it is."""

    def __init__(self) -> None:
        near, self.to_caller = pair()
        self.to_holder, far = pair()
        self.caller, self.holder = Channel(near, 5.0), Channel(far, 5.0)
        threads = [
            threading.Thread(target=self.caller.call, args=("moe", KEY)),
            threading.Thread(target=self.holder.greet, args=(lambda job: job_key(SECRET, job),)),
        ]
        for thread in threads:
            thread.start()
        self.greeting = exactly(self.to_caller, snapshot_wire._HELLO.size)
        self.to_holder.sendall(self.greeting)
        self.to_caller.sendall(exactly(self.to_holder, 64))
        self.proof = exactly(self.to_caller, 32)
        self.to_holder.sendall(self.proof)
        for thread in threads:
            thread.join(5.0)

    def close(self) -> None:
        for each in (self.caller, self.holder, self.to_caller, self.to_holder):
            each.close()


@pytest.fixture
def middle(monkeypatch: pytest.MonkeyPatch) -> Iterator[Middle]:
    """He sits on the way itself, so that the holder's address is what both ends believe it to be."""
    session = snapshot_wire._session
    monkeypatch.setattr(snapshot_wire, "_session", lambda *args: session(*args[:-1], ("10.0.0.1", 1)))
    with closing(Middle()) as made:
        yield made


def test_what_is_passed_on_as_it_is_arrives(middle: Middle) -> None:
    middle.caller.say(List())
    middle.to_holder.sendall(frame(middle.to_caller))
    assert middle.holder.hear(Request) == List()
    middle.holder.say(Listing(()))
    middle.to_caller.sendall(frame(middle.to_holder))
    assert middle.caller.hear(Answer) == Listing(())


@pytest.mark.parametrize(
    "meddle",
    [
        pytest.param(lambda sent: [sent[0][:4] + b"\xff" + sent[0][5:]], id="changed"),
        pytest.param(lambda sent: [sent[0][:-1] + bytes([sent[0][-1] ^ 1])], id="its seal changed"),
        pytest.param(lambda sent: [struct.pack("<I", 2**31) + sent[0][4:]], id="a length beyond all"),
        pytest.param(lambda sent: [sent[1], sent[0]], id="in another order"),
        pytest.param(lambda sent: [sent[1]], id="one left out"),
        pytest.param(
            lambda _sent: [b"\x0b\0\0\0\x81\xa4type\xa4List" + bytes(16)], id="a message of his own"
        ),
        pytest.param(lambda sent: [BEYOND + sent[0][4:20]], id="an empty one"),
    ],
)
def test_a_message_that_is_meddled_with_ends_the_session(
    middle: Middle, meddle: Callable[[Frames], Frames]
) -> None:
    middle.caller.say(List())
    middle.caller.say(Ready())
    for each in meddle([frame(middle.to_caller), frame(middle.to_caller)]):
        middle.to_holder.sendall(each)
    with pytest.raises(ValueError, match="a message"):
        middle.holder.hear(Request | Answer)


def test_a_message_that_is_told_twice_ends_the_session(middle: Middle) -> None:
    middle.caller.say(List())
    sent = frame(middle.to_caller)
    middle.to_holder.sendall(sent + sent)
    assert middle.holder.hear(Request) == List()
    with pytest.raises(ValueError, match="did not send, or not now"):
        middle.holder.hear(Request)


def test_a_message_that_comes_back_to_its_sender_ends_the_session(middle: Middle) -> None:
    middle.caller.say(Ready())
    middle.to_caller.sendall(frame(middle.to_caller))
    with pytest.raises(ValueError, match="did not send, or not now"):
        middle.caller.hear(Answer)


def test_a_message_that_is_cut_short_ends_the_session(middle: Middle) -> None:
    middle.caller.say(List())
    middle.to_holder.sendall(frame(middle.to_caller)[:-3])
    middle.to_holder.shutdown(socket.SHUT_WR)
    with pytest.raises(EOFError):
        middle.holder.hear(Request)


@pytest.mark.parametrize("at", [10, 1_000_000, 1_048_600, 1_500_000])
def test_a_payload_that_is_changed_anywhere_ends_the_session(middle: Middle, at: int) -> None:
    threading.Thread(target=middle.caller.send_payload, args=([bytes(1_500_000)],)).start()
    sent = bytearray(frame(middle.to_caller) + frame(middle.to_caller))
    sent[at] ^= 1
    threading.Thread(target=middle.to_holder.sendall, args=(sent,)).start()
    with pytest.raises(ValueError, match="a message"):
        for _ in middle.holder.payload(1_500_000):
            pass


def test_chunks_of_a_payload_that_change_places_end_the_session(middle: Middle) -> None:
    threading.Thread(target=middle.caller.send_payload, args=([bytes(2 << 20)],)).start()
    first, second = frame(middle.to_caller), frame(middle.to_caller)
    threading.Thread(target=middle.to_holder.sendall, args=(second + first,)).start()
    with pytest.raises(ValueError, match="did not send, or not now"):
        next(middle.holder.payload(2 << 20))


def test_a_session_that_was_recorded_is_worth_nothing(middle: Middle) -> None:
    near, far = pair()
    near.sendall(middle.greeting + middle.proof)
    with closing(Channel(far, 5.0)) as again, pytest.raises(NotProvenError, match="wrong key"):
        again.greet(lambda job: job_key(SECRET, job))
    near.close()


def test_a_holders_proof_is_not_a_callers(middle: Middle) -> None:
    """Somebody without the key calls, and gives the holder its own proof back."""
    near, far = pair()
    near.sendall(middle.greeting)
    thread = threading.Thread(target=lambda: near.sendall(exactly(near, 64)[32:]))
    thread.start()
    with closing(Channel(far, 5.0)) as holder, pytest.raises(NotProvenError, match="wrong key"):
        holder.greet(lambda job: job_key(SECRET, job))
    thread.join()
    near.close()


# ----------------------------------------------------------------------------------- led to another address


@contextmanager
def relay(target: tuple[str, int]) -> Iterator[tuple[str, int]]:
    """Pass all bytes on in both directions."""
    server = socket.create_server(("127.0.0.5", 0))
    open_: list[socket.socket] = [server]

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while piece := source.recv(65536):
                sink.sendall(piece)
        except OSError:
            pass
        for each in (source, sink):
            each.close()

    def accept() -> None:
        while True:
            try:
                near, _ = server.accept()
                far = socket.create_connection(target)
            except OSError:
                return
            open_.extend((near, far))
            for ends in ((near, far), (far, near)):
                threading.Thread(target=pump, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield server.getsockname()
    finally:
        for each in open_:
            with closing(each):
                pass


def test_a_holder_that_is_reached_by_way_of_somebody_else_is_refused(tmp_path: Path) -> None:
    Slots(snapshots_of(tmp_path, "moe"), "owner", 0).write(7, 1, 1, [b"weights"])
    with SnapshotHolder(tmp_path, "127.0.0.3", key=SECRET) as holder, relay(holder.address) as address:
        with pytest.raises(SnapshotError, match="the key is refused"):
            connect(address, "moe", KEY, within_s=2.0, idle_s=2.0)
        copies = find("moe", 1, [address], tmp_path / "spare", KEY, reach_s=2.0)
        assert copies.newest_common() == -1
        with closing(PeerSender("moe", 0, address, KEY)) as sender:
            sender.send(9, 1, 1, [b"planted"], word=word_for(SECRET, "moe", 1))
            assert not sender.wait(9, 5.0)
            assert "the key is refused" in sender.error
    assert [info.step for info in Slots(snapshots_of(tmp_path, "moe"), "peer", 0).inventory()] == []


@pytest.mark.parametrize(
    "said",
    [
        b"#CHALLENGE#" + bytes(200),
        b"GET / HTTP/1.1\r\n\r\n" + bytes(200),
        bytes(136),
        b"SENTWIR2" + bytes(128),
    ],
)
def test_who_speaks_otherwise_is_sent_away_and_nobody_else(tmp_path: Path, said: bytes) -> None:
    with SnapshotHolder(tmp_path, "127.0.0.3", key=SECRET) as holder:
        with socket.create_connection(holder.address) as stranger:
            stranger.settimeout(5.0)
            stranger.sendall(said)
            try:
                while stranger.recv(1024):
                    pass
            except ConnectionResetError:
                pass
        with closing(connect(holder.address, "moe", KEY, within_s=2.0, idle_s=2.0)) as channel:
            channel.say(List())
            assert channel.hear(Answer) == Listing(())
