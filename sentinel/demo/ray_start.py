"""Start Ray on several hosts from one process: Ray is imported once, then forked into each host.

Reads one JSON order per line from standard input, answers with one line `name code` each.
"""

import ctypes
import json
import os
import sys
import traceback
from typing import Any

CLONE_NEWNET = 0x40000000


def main() -> None:
    """Serve orders until standard input ends."""
    import ray._private.utils as ray_utils
    from ray._private.node import Node
    from ray.scripts import scripts

    # The demo needs neither Ray's dashboard nor its agents' extras: without them a node takes
    # a third of the memory and time. This is what Ray does itself in an install without `[default]`.
    absent = ImportError("left out in the demo")
    ray_utils.get_dashboard_dependency_error = lambda: absent
    scripts.get_ray_client_dependency_error = lambda: absent
    Node.start_api_server = lambda *_, **__: None
    running: dict[int, str] = {}
    print("ready", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        running[_fork(order, scripts)] = order["name"]
        while running and order.get("wait"):
            pid, status = os.wait()
            print(running.pop(pid), os.waitstatus_to_exitcode(status), flush=True)


def _fork(order: dict[str, Any], scripts: Any) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _enter(order)
        code = scripts.cli(order["argv"], standalone_mode=False) or 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _enter(order: dict[str, Any]) -> None:
    """Become a process of the host: session, namespace, directory, environment, output."""
    os.setsid()
    if order["netns"]:
        descriptor = os.open(order["netns"], os.O_RDONLY)
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {order['netns']}")
        os.close(descriptor)
    os.chdir(order["cwd"])
    os.environ.update(order["env"])
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)


if __name__ == "__main__":
    main()
