"""Nobody chooses the name by which a connection goes: where two were equal the controller ended."""

import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import zmq

from sentinel.adapters.keys import Credentials, Keys
from sentinel.model.codec import decode, encode
from sentinel.model.ids import NodeId
from sentinel.model.report import Hello, Refused
from tests.enrolled import keys_with

N1, N2 = NodeId("n1"), NodeId("n2")
FIRST_NUMBER = 0x6B8B4567
"""Of a ROUTER, where C's `rand` has no seed."""
MANY = 24
ANSWERS_WITHIN_MS = 5000
CONTROLLER = """
import asyncio, pathlib, sys
from sentinel.adapters.keys import Keys
from sentinel.adapters.transport import Reports

async def listen():
    async with Reports("tcp://127.0.0.1:0", Keys(pathlib.Path(sys.argv[1]))) as reports:
        print(reports.endpoint, flush=True)
        await reports.recv()

asyncio.run(listen())
"""


def reach(
    context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str, by: Credentials, name: bytes = b""
) -> "zmq.Socket[bytes]":
    dealer = context.socket(zmq.DEALER)
    dealer.curve_secretkey, dealer.curve_publickey = by.secret, by.public
    dealer.curve_serverkey, dealer.linger = by.controller, 0
    if name:
        dealer.identity = name
    dealer.connect(endpoint)
    dealer.send(encode(Hello(N1, "forged", "127.0.0.1", 1, 8)))
    return dealer


def is_answered(dealer: "zmq.Socket[bytes]") -> bool:
    return bool(dealer.poll(ANSWERS_WITHIN_MS)) and isinstance(decode(Refused, dealer.recv()), Refused)


def test_who_takes_the_names_that_zeromq_makes_does_not_end_the_controller(tmp_path: Path) -> None:
    keys: Keys = keys_with(tmp_path, N1, N2)
    argv = [sys.executable, "-c", CONTROLLER, str(tmp_path)]
    controller = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert controller.stdout is not None
    try:
        endpoint, thief = controller.stdout.readline().strip(), keys.of_node(N2)
        with zmq.Context() as context, closing(controller.stdout):
            stay = []
            for names in (list(map(made, range(MANY // 2, MANY))), [b""] * MANY):
                came = [reach(context, endpoint, thief, name) for name in names]
                assert all(map(is_answered, came))
                stay += came
            assert controller.poll() is None
            context.destroy(linger=0)
    finally:
        controller.send_signal(signal.SIGKILL)
        controller.wait()


def made(number: int) -> bytes:
    """Give the name that ZeroMQ makes for a connection."""
    return b"\0" + (FIRST_NUMBER + number).to_bytes(4, "big")
