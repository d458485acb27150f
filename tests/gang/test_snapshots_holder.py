"""Copies travel between nodes over TCP and are found again, whatever is lost meanwhile."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from sentinel.gang import snapshot_holder
from sentinel.gang.snapshot_codec import NoRoomError
from sentinel.gang.snapshot_messages import Answer, Fetch, List, Listing, Push, Ready, Sending
from sentinel.gang.snapshot_slots import _write_header, read_header
from sentinel.gang.snapshot_wire import ask, connect
from sentinel.gang.snapshots import (
    Copies,
    PeerSender,
    Slots,
    SnapshotError,
    SnapshotHolder,
    find,
    job_key,
    snapshots_of,
    word_for,
)

SECRET = b"a secret of this cluster"
KEY = job_key(SECRET, "moe")
HOSTS = ("127.0.0.2", "127.0.0.3")

HOLDER_PROCESS = """
import sys, time
from pathlib import Path
from sentinel.gang.snapshots import SnapshotHolder
holder = SnapshotHolder(Path(sys.argv[1]), "127.0.0.3", key=sys.argv[2].encode())
assert "torch" not in sys.modules
print(holder.address[1], flush=True)
time.sleep(60)
"""

FEW_FILES = """
import os, resource, socket, sys, time
from pathlib import Path
from sentinel.gang.snapshots import PeerSender, SnapshotHolder, job_key, word_for
secret = sys.argv[2].encode()
holder = SnapshotHolder(Path(sys.argv[1]), "127.0.0.3", key=secret)
sender = PeerSender("moe", 0, holder.address, job_key(secret, "moe"))
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
stranger = socket.socket()
taken = []
try:
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    print("full", flush=True)
stranger.connect(holder.address)
time.sleep(0.5)
for number in taken:
    os.close(number)
for _ in range(3):
    sender.send(1, 1, 2, [b"x"], word=word_for(secret, "moe", 1))
    if sender.wait(1, 5.0):
        break
print(sender.acked_step, flush=True)
os._exit(0)
"""


class Node:
    """One node's memory and the holder that serves it."""

    def __init__(self, memory: Path, host: str) -> None:
        self.memory = memory
        self.holder = SnapshotHolder(memory, host, key=SECRET)

    def own(self, rank: int) -> Slots:
        return Slots(snapshots_of(self.memory, "moe"), "owner", rank)

    def peer(self, rank: int) -> Slots:
        return Slots(snapshots_of(self.memory, "moe"), "peer", rank)


class Sender(PeerSender):
    """A rank's sender, to which the controller gives its word for every generation."""

    def send(self, step: int, generation: int, *rest: Any, **more: Any) -> None:
        super().send(step, generation, *rest, word=word_for(SECRET, "moe", generation), **more)


def push(**fields: Any) -> Push:
    generation = fields.get("generation", 1)
    word = fields.pop("word", word_for(SECRET, "moe", generation))
    plain = {"rank": 0, "world": 2, "generation": 1, "step": 1, "keep": -1, "length": 1, "crc": 0}
    return Push(word=word, **{**plain, **fields})


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[Node]]:
    """Two nodes; rank 0 lives on the first and keeps its second copy on the other, rank 1 the reverse."""
    made = [Node(tmp_path / host, host) for host in HOSTS]
    yield made
    for node in made:
        node.holder.close()


@pytest.fixture
def sender(nodes: list[Node]) -> Iterator[Sender]:
    with contextlib.closing(Sender("moe", 0, nodes[1].holder.address, KEY, timeout_s=1.0)) as made:
        yield made


@pytest.fixture
def other_process(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], tuple[str, int]]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER_PROCESS, str(tmp_path / "other"), SECRET.decode()],
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        yield process, ("127.0.0.3", int(process.stdout.readline()))
        process.kill()


def until(true: Callable[[], bool], deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while not true():
        assert time.monotonic() < end, "the condition never came true"
        time.sleep(0.002)


def settled(sender: Sender) -> str:
    until(lambda: not sender.busy)
    return sender.error


def found(nodes: list[Node], at: int = 0, world: int = 2) -> Copies:
    return find("moe", world, [node.holder.address for node in nodes], nodes[at].memory, KEY)


def snapshot_everywhere(nodes: list[Node], steps: range, generation: int = 1) -> None:
    for step in steps:
        for rank, node in enumerate(nodes):
            for slots in (node.own(rank), nodes[1 - rank].peer(rank)):
                slots.write(step, generation, 2, [b"rank %d step %d" % (rank, step)], keep=step - 1)


def damage(slots: Slots, step: int) -> None:
    for path in slots.paths:
        raw = bytearray(path.read_bytes())
        if raw.endswith(b"step %d" % step):
            raw[-1] ^= 1
            path.write_bytes(raw)


# ------------------------------------------------------------------------------------------------ pushing


def test_a_copy_reaches_the_peer(nodes: list[Node], sender: Sender) -> None:
    sender.send(4, 1, 2, [b"abc", memoryview(b"def")])
    assert sender.wait(4, 10.0)
    assert (sender.acked_step, sender.error) == (4, "")
    assert nodes[1].peer(0).read(4) == b"abcdef"


def test_a_large_copy_arrives_whole(nodes: list[Node], sender: Sender) -> None:
    payload = os.urandom(5_000_001)
    sender.send(4, 1, 2, [payload])
    assert sender.wait(4, 10.0)
    assert nodes[1].peer(0).read(4) == payload


def test_sending_copies_what_the_next_step_changes(nodes: list[Node], sender: Sender) -> None:
    live = bytearray(b"x" * 100_000)
    sender.send(1, 1, 2, [live])
    live[:] = b"y" * 100_000
    assert sender.wait(1, 10.0)
    assert nodes[1].peer(0).read(1) == b"x" * 100_000


def test_the_peer_keeps_the_globally_complete_step(nodes: list[Node], sender: Sender) -> None:
    for step in range(6):
        sender.send(step, 1, 2, [b"x"], keep=1)
        assert sender.wait(step, 10.0)
    assert {info.step for info in nodes[1].peer(0).inventory()} == {1, 4, 5}


def test_a_new_generation_has_acknowledged_nothing_yet(nodes: list[Node], sender: Sender) -> None:
    sender.send(9, 1, 2, [b"x"])
    assert sender.wait(9, 10.0)
    sender.send(8, 2, 2, [b"x"])
    assert sender.wait(8, 10.0)
    assert sender.acked_step == 8


# ------------------------------------------------------------------------------------------------ fencing


def test_a_generation_that_is_over_is_refused(nodes: list[Node], sender: Sender) -> None:
    nodes[1].peer(1).write(4, 3, 2, [b"newer"])
    sender.send(4, 2, 2, [b"late"])
    assert settled(sender) == "refused: generation 2 of moe is over, 3 has begun"
    assert sender.acked_step == -1
    sender.send(4, 3, 2, [b"in time"])
    assert sender.wait(4, 10.0), "the connection goes on after a refusal"


def test_a_newer_push_fences_the_older_generation_of_every_rank(nodes: list[Node], sender: Sender) -> None:
    sender.send(4, 2, 2, [b"x"])
    assert sender.wait(4, 10.0)
    with contextlib.closing(Sender("moe", 1, nodes[1].holder.address, KEY)) as old:
        old.send(5, 1, 2, [b"late"])
        assert "generation 1 of moe is over" in settled(old)


def test_a_restarted_holder_still_refuses_what_was_over(nodes: list[Node], tmp_path: Path) -> None:
    nodes[1].peer(0).write(4, 3, 2, [b"x"])
    nodes[1].holder.close()
    with (
        SnapshotHolder(nodes[1].memory, HOSTS[1], key=SECRET) as holder,
        contextlib.closing(Sender("moe", 1, holder.address, KEY)) as old,
    ):
        old.send(5, 2, 2, [b"late"])
        assert "generation 2 of moe is over" in settled(old)


def test_a_push_stuck_in_the_middle_holds_up_no_newer_generation(nodes: list[Node], sender: Sender) -> None:
    stuck = connect(nodes[1].holder.address, "moe", KEY, within_s=1.0, idle_s=5.0)
    ask(stuck, push(length=1000), Ready)
    stuck.send_payload([b"half"])
    until(lambda: nodes[1].peer(0).paths[0].exists())
    sender.send(2, 2, 2, [b"new"])
    assert sender.wait(2, 4.0)
    assert [info.step for info in nodes[1].peer(0).inventory()] == [2]
    stuck.close()


# ---------------------------------------------------------------------------------------- losing the peer


def test_a_peer_that_is_gone_is_said_and_blocks_nothing(nodes: list[Node], sender: Sender) -> None:
    sender.send(1, 1, 2, [b"x"])
    assert sender.wait(1, 10.0)
    nodes[1].holder.close()
    for step in (2, 3):
        sender.send(step, 1, 2, [b"x"])
        assert "127.0.0.3" in settled(sender)
    assert sender.acked_step == 1


def test_a_peer_that_comes_back_is_used_again(nodes: list[Node], sender: Sender) -> None:
    sender.send(1, 1, 2, [b"x"])
    assert sender.wait(1, 10.0)
    port = nodes[1].holder.address[1]
    nodes[1].holder.close()
    nodes[1].holder = SnapshotHolder(nodes[1].memory, HOSTS[1], port, key=SECRET)
    sender.send(2, 1, 2, [b"x"])
    assert sender.wait(2, 10.0)
    assert sender.error == ""


def test_a_stopped_peer_is_said_within_the_timeout(
    other_process: tuple[subprocess.Popen[bytes], tuple[str, int]],
) -> None:
    process, address = other_process
    with contextlib.closing(Sender("moe", 0, address, KEY, timeout_s=0.3)) as sender:
        sender.send(1, 1, 2, [b"x"])
        assert sender.wait(1, 10.0)
        process.send_signal(signal.SIGSTOP)
        sender.send(2, 1, 2, [b"x" * 20_000_000])
        assert "127.0.0.3" in settled(sender)
        process.send_signal(signal.SIGCONT)
        sender.send(3, 1, 2, [b"x"])
        assert sender.wait(3, 10.0)


def test_to_stop_sending_waits_for_no_peer_that_is_silent() -> None:
    with socket.create_server(("127.0.0.4", 0)) as mute:
        sender = Sender("moe", 0, mute.getsockname(), KEY, timeout_s=1.0)
        sender.send(1, 1, 2, [b"x"])
        until(lambda: sender.busy)
        began = time.monotonic()
        sender.close()
        assert time.monotonic() - began < 0.2
        until(lambda: not sender._thread.is_alive(), 3.0)


# ------------------------------------------------------------------------------------------------ strangers


def test_a_wrong_key_is_refused_in_one_line(nodes: list[Node]) -> None:
    with contextlib.closing(Sender("moe", 0, nodes[1].holder.address, b"wrong")) as sender:
        sender.send(1, 1, 2, [b"x"])
        error = settled(sender)
    assert error == f"snapshot holder 127.0.0.3:{nodes[1].holder.address[1]}: the key is refused"
    assert nodes[1].peer(0).inventory() == []


def test_strangers_are_few_and_do_not_stay(
    nodes: list[Node], sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_holder, "_GREET_S", 3.0)  # on a busy machine a greeting takes a second
    holder = nodes[1].holder
    with contextlib.ExitStack() as open_:
        strangers = [open_.enter_context(socket.create_connection(holder.address)) for _ in range(80)]
        until(lambda: len(holder._channels) <= snapshot_holder.MOST_STRANGERS)
        sender.send(1, 1, 2, [b"x"])
        assert sender.wait(1, 10.0)
        for stranger in strangers:
            stranger.settimeout(10.0)
            while stranger.recv(1024):
                pass
        sender.send(2, 1, 2, [b"x"])
        assert sender.wait(2, 10.0), "who has proven the key stays"
        until(lambda: len(holder._channels) == 1)


def test_a_holder_without_a_free_file_goes_on_when_there_is_one(tmp_path: Path) -> None:
    program = [sys.executable, "-c", FEW_FILES, str(tmp_path), SECRET.decode()]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "1"


def test_a_silent_stranger_does_not_keep_others_out(nodes: list[Node], sender: Sender) -> None:
    with socket.create_connection(nodes[1].holder.address):
        sender.send(1, 1, 2, [b"x"])
        assert sender.wait(1, 10.0)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x91" * 100_000,
        b"\xc6\xff\xff\xff\xff",
        msgspec.msgpack.encode({"op": "push"}),
        msgspec.msgpack.encode({"type": "Push", "rank": "zero"}),
        msgspec.msgpack.encode({"type": "Fetch", "kind": "../x", "rank": 0, "step": 0}),
        *(
            msgspec.msgpack.encode({**msgspec.to_builtins(push()), "type": "Push", "word": b"", **out})
            for out in (
                {"rank": -5},
                {"rank": 2},
                {"rank": 2**40, "world": 2**41},
                {"world": 0},
                {"generation": -1},
                {"generation": 2**60},
                {"step": 2**63},
                {"step": -1},
                {"keep": -2},
                {"length": -1},
                {"length": 2**62},
                {"length": 1.5},
                {"crc": 2**32},
                {"word": b"x" * 1000},
            )
        ),
    ],
)
def test_a_request_without_sense_ends_only_its_own_connection(
    nodes: list[Node], sender: Sender, said: bytes
) -> None:
    channel = connect(nodes[1].holder.address, "moe", KEY, within_s=1.0, idle_s=5.0)
    channel._send_sealed(said)
    with pytest.raises((EOFError, OSError)):
        channel.hear(Answer)
    channel.close()
    sender.send(1, 1, 2, [b"x"])
    assert sender.wait(1, 10.0)


def test_what_is_not_there_is_refused_with_its_reason(nodes: list[Node]) -> None:
    channel = connect(nodes[1].holder.address, "moe", KEY, within_s=1.0, idle_s=5.0)
    with pytest.raises(SnapshotError, match="refused: owner copy of step 0 of rank 0 is not here"):
        ask(channel, Fetch("owner", 0, 0), Sending)
    assert ask(channel, List(), Listing) == Listing(()), "the connection goes on"
    channel.close()


@pytest.mark.parametrize("job", ["..", "a/b", "", ".hidden", "\udcff", "x" * 96 + "y"])
def test_a_job_that_leads_elsewhere_is_refused(nodes: list[Node], job: str) -> None:
    key = job_key(SECRET, job.encode(errors="replace").decode())
    with pytest.raises((SnapshotError, ValueError)):
        connect(nodes[1].holder.address, job, key, within_s=1.0, idle_s=5.0)


# ------------------------------------------------------------------------------------- who may say so


@pytest.mark.parametrize("claimed", [2, 2**48])
def test_a_generation_that_the_controller_has_not_ordered_is_not_believed(
    nodes: list[Node], sender: Sender, claimed: int
) -> None:
    channel = connect(nodes[1].holder.address, "moe", KEY, within_s=1.0, idle_s=5.0)
    for word in (b"", word_for(SECRET, "moe", 1), word_for(KEY, "moe", claimed)):
        with pytest.raises(SnapshotError, match="the controller has not ordered it"):
            ask(channel, push(generation=claimed, word=word), Ready)
    channel.close()
    sender.send(1, 1, 2, [b"x"])
    assert sender.wait(1, 10.0)


def test_a_generation_in_a_header_that_no_controller_counts_to_is_not_believed(
    nodes: list[Node], sender: Sender
) -> None:
    nodes[1].own(1).write(1, 1, 2, [b"x"])
    path = next(path for path in nodes[1].own(1).paths if path.exists())
    info = read_header(path)
    assert info
    with path.open("r+b") as file:
        _write_header(file, replace(info, generation=2**60), complete=True)
    sender.send(1, 1, 2, [b"x"])
    assert sender.wait(1, 10.0)


def test_another_jobs_ranks_reach_nothing_of_this_job(nodes: list[Node]) -> None:
    snapshot_everywhere(nodes, range(1, 4))
    other = job_key(SECRET, "other")
    address = nodes[0].holder.address
    with pytest.raises(SnapshotError, match="the key is refused"):
        connect(address, "moe", other, within_s=1.0, idle_s=5.0)
    assert find("other", 2, [address], nodes[0].memory / "spare", other).by_rank == {}
    with contextlib.closing(PeerSender("other", 0, address, other)) as sender:
        sender.send(9, 1, 2, [b"x"], word=word_for(SECRET, "moe", 1))
        assert "the controller has not ordered it" in settled(sender)


def test_a_payload_for_which_there_is_no_room_is_not_asked_for(nodes: list[Node], sender: Sender) -> None:
    channel = connect(nodes[1].holder.address, "moe", KEY, within_s=1.0, idle_s=5.0)
    with pytest.raises(NoRoomError, match="no room for another snapshot"):
        ask(channel, push(length=2**44), Ready)
    channel.close()
    sender.send(1, 1, 2, [b"x"])
    assert sender.wait(1, 10.0)


def test_of_one_jobs_connections_only_so_many_stay(
    nodes: list[Node], sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_holder, "MOST_OF_A_JOB", 4)
    address = nodes[1].holder.address
    many = [connect(address, "moe", KEY, within_s=2.0, idle_s=5.0) for _ in range(12)]
    until(lambda: len(nodes[1].holder._channels) <= 4)
    sender.send(1, 1, 2, [b"x"])
    assert sender.wait(1, 10.0)
    for channel in many:
        channel.close()


# ------------------------------------------------------------------------------------------------ finding


def test_every_copy_of_every_rank_is_found(nodes: list[Node]) -> None:
    snapshot_everywhere(nodes, range(1, 4))
    copies = found(nodes)
    assert copies.newest_common() == 3
    assert copies.newest_common(below=3) == 2
    assert {rank: sorted(steps) for rank, steps in copies.by_rank.items()} == {0: [1, 2, 3], 1: [1, 2, 3]}
    for rank in (0, 1):
        assert copies.fetch(rank, 3) == b"rank %d step 3" % rank


def test_a_step_that_one_rank_lacks_is_not_common(nodes: list[Node]) -> None:
    snapshot_everywhere(nodes, range(1, 4))
    nodes[0].own(0).write(4, 1, 2, [b"ahead"])
    assert found(nodes).newest_common() == 3


def test_a_lost_node_is_made_up_for_by_its_peers_copies(nodes: list[Node], tmp_path: Path) -> None:
    snapshot_everywhere(nodes, range(1, 4))
    nodes[0].holder.close()
    spare = tmp_path / "spare"
    copies = find("moe", 2, [node.holder.address for node in nodes], spare, KEY)
    assert len(copies.unreachable) == 1
    assert "127.0.0.2" in copies.unreachable[0]
    assert copies.newest_common() == 3
    assert copies.fetch(0, 3) == b"rank 0 step 3"


def test_without_its_agent_a_nodes_own_memory_is_still_read(nodes: list[Node]) -> None:
    snapshot_everywhere(nodes, range(1, 4))
    for node in nodes:
        node.holder.close()
    copies = found(nodes)
    assert copies.newest_common() == 3
    assert copies.fetch(1, 3) == b"rank 1 step 3"


def test_a_damaged_copy_is_passed_over_for_the_peers(nodes: list[Node]) -> None:
    snapshot_everywhere(nodes, range(1, 4))
    damage(nodes[0].own(0), 3)
    copies = found(nodes)
    assert copies.newest_common() == 3
    assert copies.fetch(0, 3) == b"rank 0 step 3"


def test_a_copy_damaged_after_it_was_found_is_passed_over_too(nodes: list[Node]) -> None:
    snapshot_everywhere(nodes, range(1, 4))
    copies = found(nodes)
    damage(nodes[0].own(0), 3)
    assert copies.fetch(0, 3) == b"rank 0 step 3"
    damage(nodes[1].peer(0), 3)
    with pytest.raises(
        SnapshotError, match=r"no copy of step 3 of rank 0: owner copy .* is damaged"
    ) as caught:
        copies.fetch(0, 3)
    assert "\n" not in str(caught.value)


def test_with_all_copies_of_a_step_damaged_the_step_before_can_be_had(nodes: list[Node]) -> None:
    snapshot_everywhere(nodes, range(1, 4))
    damage(nodes[0].own(0), 3)
    damage(nodes[1].peer(0), 3)
    copies = found(nodes)
    with pytest.raises(SnapshotError, match="no copy of step 3 of rank 0"):
        copies.fetch(0, 3)
    assert copies.newest_common(below=3) == 2
    assert copies.fetch(0, 2) == b"rank 0 step 2"


def test_finding_copies_reads_no_payload_however_large(nodes: list[Node], tmp_path: Path) -> None:
    snapshot_everywhere(nodes, range(1, 4))
    for path in (path for node in nodes for path in node.own(0).paths if path.exists()):
        info = read_header(path)
        assert info
        with path.open("r+b") as file:
            _write_header(file, replace(info, length=1 << 38), complete=True)
        os.truncate(path, 1 << 38)  # reading its zeros takes minutes
    began = time.monotonic()
    copies = find("moe", 2, [node.holder.address for node in nodes], tmp_path / "spare", KEY)
    assert (copies.newest_common(), copies.unreachable) == (3, ())
    assert time.monotonic() - began < 5.0


def test_of_two_copies_of_a_step_on_one_node_the_intact_one_is_fetched(
    nodes: list[Node], tmp_path: Path
) -> None:
    nodes[0].own(0).write(2, 1, 1, [b"first rank 0 step 2"])
    nodes[0].own(0).write(2, 2, 1, [b"second rank 0 step 2"])
    damaged = next(p for p in nodes[0].own(0).paths if p.exists() and b"second" in p.read_bytes())
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    copies = find("moe", 1, [nodes[0].holder.address], tmp_path / "spare", KEY)
    assert copies.fetch(0, 2) == b"first rank 0 step 2"


def test_holders_that_are_skipped_are_logged_in_one_line(nodes: list[Node]) -> None:
    nodes[1].holder.close()
    with capture_logs() as logs:
        found(nodes)
    (entry,) = logs
    assert (entry["event"], entry["job"], entry["holders"]) == ("snapshot-holders-skipped", "moe", 2)
    assert "127.0.0.3" in entry["skipped"][0]


def test_copies_of_another_world_size_never_count(nodes: list[Node]) -> None:
    snapshot_everywhere(nodes, range(1, 4))
    assert found(nodes, world=1).newest_common() == -1
    assert found(nodes, world=3).newest_common() == -1


def test_equal_steps_of_two_generations_count_as_one_and_the_newer_is_read(nodes: list[Node]) -> None:
    snapshot_everywhere(nodes, range(1, 3), generation=1)
    nodes[0].own(0).write(2, 2, 2, [b"repeated"], keep=1)
    copies = found(nodes)
    assert copies.newest_common() == 2
    assert copies.fetch(0, 2) == b"repeated"


def test_a_job_without_snapshots_has_no_common_step(nodes: list[Node]) -> None:
    assert found(nodes).newest_common() == -1


def test_a_holder_that_never_greets_is_skipped(nodes: list[Node]) -> None:
    snapshot_everywhere(nodes, range(1, 4))
    with socket.create_server(("127.0.0.4", 0)) as mute:
        address = mute.getsockname()
        copies = find("moe", 2, [address, nodes[1].holder.address], nodes[0].memory, KEY, reach_s=0.2)
    assert copies.unreachable == (f"snapshot holder 127.0.0.4:{address[1]}: no answer in time",)
    assert copies.newest_common() == 3


def test_the_agents_side_imports_no_torch(
    other_process: tuple[subprocess.Popen[bytes], tuple[str, int]],
) -> None:
    channel = connect(other_process[1], "moe", KEY, within_s=1.0, idle_s=5.0)
    assert ask(channel, List(), Listing) == Listing(())
    channel.close()
