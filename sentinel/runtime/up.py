"""Starting Sentinel on a cluster and taking it off again: `sentinel up` and `sentinel down`."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from sentinel import config
from sentinel.adapters.keys import Keys

STARTS_WITHIN_S = 120.0
"""A journal of an older release is rewritten first, at about 20 s for a million lines; one that does not
start says so at once, whatever this is."""
ENDS_WITHIN_S = 60.0
"""Killed ranks are gone in seconds; a worker that is still importing torch has to finish that first."""


class UpError(Exception):
    """Sentinel does not come up or go down; the message is one line."""


def up(settings: config.Settings, path: Path | None = None) -> str:
    """Start the watchdog, and with it everything else; says where it answers. Raises UpError.

    Processes get this one's environment, so that Ray's settings (`RAY_…`) reach the ray link.
    """
    given = settings.job.trainer_config
    if given is not None and not given.is_file():
        raise UpError(f"job.trainer_config: no such file: {given}")
    settings.cluster.state_dir.mkdir(parents=True, exist_ok=True)
    running = _watchdog(settings)
    pid = running or _start(settings, path)
    try:
        _wait_for_answer(settings, pid)
    except BaseException:  # Ctrl-C, too
        if not running:
            _end(pid, within_s=10.0)  # nothing is left half started
        raise
    verb = "runs already" if running else "started"
    return f"{settings.cluster.name} {verb}: {settings.cluster.web_url}, watchdog pid {pid}"


def down(settings: config.Settings) -> str:
    """End the jobs, the agents, the watchdog and the controller; says what was ended. Raises UpError."""
    watchdog, controller = _watchdog(settings), _controller(settings)
    if not watchdog and not controller:
        return f"nothing of {settings.cluster.name} runs here"
    with _api(settings) as api:
        try:
            jobs = [job["job"] for job in api.get("status").raise_for_status().json()["jobs"]]
            for job in jobs:
                _say(api, "stop-job", target=job)
            left = _retire(api)
        except httpx.HTTPError as error:
            raise UpError(
                f"no controller answers at {settings.cluster.web_url}, nothing was ended: {error}"
            ) from None
    for pid in filter(None, (watchdog, controller)):
        _end(pid, ENDS_WITHIN_S)
    return f"{settings.cluster.name} is down: {', '.join(jobs) or 'no job'} stopped, {left}"


# --- processes -----------------------------------------------------------------------------------------


def _start(settings: config.Settings, path: Path | None) -> int:
    argv = [sys.executable, "-m", "sentinel.runtime.watchdog"]
    argv += ["--config", str(path.absolute())] if path else []
    with (settings.cluster.state_dir / "watchdog.log").open("ab") as out:
        started = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    return started.pid


def _watchdog(settings: config.Settings) -> int:
    """Give the pid of the watchdog that holds the lock, 0 when none does."""
    with (
        contextlib.suppress(FileNotFoundError),
        (settings.cluster.state_dir / "watchdog.lock").open() as lock,
    ):
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(lock.read() or 0)
    return 0


def _controller(settings: config.Settings) -> int:
    """Give the pid of the living controller, 0 when there is none."""
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        pid = int((settings.cluster.state_dir / "controller.pid").read_text())
        process = psutil.Process(pid)
        if "sentinel.runtime.controller" in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
            return pid
    return 0


def _alive(pid: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _end(pid: int, within_s: float) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    if not _poll(within_s, lambda: not _alive(pid)):
        raise UpError(f"pid {pid} does not end within {within_s:.0f} s of SIGTERM")


def _poll(within_s: float, condition: Callable[[], bool], every_s: float = 0.1) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


# --- the controller ------------------------------------------------------------------------------------


def _wait_for_answer(settings: config.Settings, watchdog: int) -> None:
    """Return when the controller of this state directory answers. Raises UpError with its last words."""
    seen: set[int] = set()

    def settled() -> bool:
        controller = _controller(settings)
        seen.update({controller} - {0})
        return not _alive(watchdog) or len(seen) > 1 or _answers(settings, controller)

    logs = settings.cluster.state_dir
    in_time = _poll(STARTS_WITHIN_S, settled)
    if not _alive(watchdog):
        raise UpError(f"the watchdog ended: {last_words(logs / 'watchdog.log')}")
    if not in_time or len(seen) > 1:
        raise UpError(f"the controller does not answer: {last_words(logs / 'controller.log')}")


def _answers(settings: config.Settings, controller: int) -> bool:
    """Whether this very process serves the pages: another cluster's may answer at the same address."""
    with contextlib.suppress(psutil.Error, httpx.HTTPError):
        listening = {c.laddr.port for c in psutil.Process(controller).net_connections("tcp") if not c.raddr}
        healthy = f"{settings.cluster.web_url}/healthz"
        if controller and settings.cluster.web_port in listening:
            return httpx.get(healthy, timeout=2.0, trust_env=False).is_success
    return False


def last_words(path: Path) -> str:
    """Give the last line of a log, and where it is."""
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    said = [line for line in lines if line.strip()]
    return f"{said[-1] if said else 'it said nothing'} ({path})"


def _api(settings: config.Settings) -> httpx.Client:
    headers = {"Authorization": f"Bearer {Keys(settings.cluster.keys_dir).api_token}"}
    return httpx.Client(
        base_url=f"{settings.cluster.web_url}/api/", headers=headers, timeout=10.0, trust_env=False
    )


def _say(api: httpx.Client, command: str, target: str = "") -> dict[str, Any]:
    answer = api.post(command, json={"target": target, "who": "sentinel down", "reason": "sentinel down"})
    document: dict[str, Any] = answer.json()
    if not answer.is_success:
        raise UpError(f"the controller refuses {command}: {document.get('error', document)}")
    return document


def _retire(api: httpx.Client) -> str:
    """Have the agents leave as soon as the controller says that no process of a job is left."""
    answers: list[str] = []

    def left() -> bool:
        try:
            answers.append(_say(api, "retire")["done"])
        except UpError as refusal:
            answers.append(str(refusal))
            return False
        return True

    if not _poll(ENDS_WITHIN_S, left, every_s=0.25):
        raise UpError(answers[-1])
    return answers[-1]
