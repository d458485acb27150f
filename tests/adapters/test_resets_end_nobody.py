"""A connection that is reset while its messages wait ends that connection only."""

import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from sentinel.adapters.uplink import Uplink
from sentinel.model.ids import NodeId
from sentinel.model.report import Report
from tests.enrolled import keys_with

NODE = NodeId("n1")
BUSY = """
import asyncio, pathlib, sys, time
from sentinel.adapters.keys import Keys
from sentinel.adapters.transport import Reports

async def listen():
    async with Reports("tcp://127.0.0.1:0", Keys(pathlib.Path(sys.argv[1]))) as reports:
        print(reports.endpoint, flush=True)
        await reports.recv()
        time.sleep(1.3)
        print("goes on", flush=True)

asyncio.run(listen())
"""
MORE_THAN_WAIT_S = 0.3
AT_ONCE = struct.pack("ii", 1, 0)


def talk_and_die(endpoint: str, folder: Path) -> None:
    """Send more than the controller takes, and be reset."""
    child = os.fork()
    if child == 0:
        uplink = Uplink(endpoint, keys_with(folder), NODE)
        while not uplink.connected:
            uplink.changes()
        end = time.monotonic() + MORE_THAN_WAIT_S
        while time.monotonic() < end:
            uplink.send(Report(NODE, "boot" * 50, 1, (), ()))
        for entry in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(entry.name))) as own:
                own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)


def test_a_reset_while_the_controller_is_busy_does_not_end_it(tmp_path: Path) -> None:
    keys_with(tmp_path, NODE)
    argv = [sys.executable, "-c", BUSY, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as controller:
        assert controller.stdout is not None
        talk_and_die(controller.stdout.readline().strip(), tmp_path)
        assert controller.stdout.read() == "goes on\n"
    assert controller.returncode == 0
