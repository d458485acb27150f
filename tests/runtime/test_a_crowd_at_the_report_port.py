"""Strangers at the report port, more than there are files: who is known comes in, and the end comes, too."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from test_controller_process import free_port, settings

from sentinel.adapters.uplink import Link, Uplink
from sentinel.config import load
from sentinel.model.ids import NodeId
from sentinel.model.report import Hello, Order
from tests.crowd import crowd, with_few_files
from tests.enrolled import keys_with

NODE = NodeId("n1")
MANY = 1100
DEADLINE_S = 30.0
CURVE_GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" + bytes(15) + bytes(32)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_taken(uplink: Uplink) -> None:
    """Connect, say hello, and be answered."""
    until(lambda: Link.UP in uplink.changes())
    uplink.send(Hello(NODE, "boot", "127.0.0.1", 1, 0))
    answers: list[Order] = []
    until(lambda: answers.extend(uplink.orders()) or answers)  # type: ignore[arg-type]
    assert [ack.event for ack in answers] == [0]


def test_strangers_keep_nobody_out_who_is_known(tmp_path: Path) -> None:
    keys = keys_with(tmp_path / "keys", NODE)
    argv = settings(tmp_path, tmp_path, free_port())
    port = load(Path(argv[-1]), {}).cluster.report_port
    log = (tmp_path / "told").open("wb")
    controller = subprocess.Popen(argv, stdout=log, stderr=log, preexec_fn=with_few_files)
    uplinks: list[Uplink] = []
    try:
        uplinks.append(Uplink(f"tcp://127.0.0.1:{port}", keys, NODE))
        is_taken(uplinks[0])
        with crowd(port, MANY // 2), crowd(port, MANY // 2, CURVE_GREETING):
            uplinks.append(Uplink(f"tcp://127.0.0.1:{port}", keys, NODE))
            is_taken(uplinks[1])
            assert controller.poll() is None
            controller.send_signal(signal.SIGTERM)
            assert controller.wait(DEADLINE_S) == 0
    finally:
        controller.kill()
        controller.wait()
        log.close()
        for uplink in uplinks:
            uplink.close()
