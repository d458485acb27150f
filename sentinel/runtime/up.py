"""Starting Sentinel on a cluster and taking it off again: `sentinel up` and `sentinel down`."""

import contextlib
import errno
import fcntl
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from sentinel import backends, config, private
from sentinel.adapters.keys import Keys
from sentinel.backends.port import NOT_YET
from sentinel.runtime import in_effect, running
from sentinel.runtime.last_words import last_words
from sentinel.runtime.plain_http import NO_TLS
from sentinel.runtime.running import CONTROLLER, WATCHDOG, Running
from sentinel.runtime.startable import look_over

GOES_ON = "nothing was ended, and what runs goes on with its settings"
"""Before the reason why its settings are not applied."""
NOT_STARTED = "nothing was started"
STARTS_WITHIN_S = 120.0
"""A journal of an older release is rewritten first, at about 20 s for a million lines; one that does not
start says so at once, whatever this is."""
ENDS_WITHIN_S = 60.0
"""Killed ranks are gone in seconds; a worker that is still importing torch has to finish that first."""


FIRST_ANSWER_S = 10.0
"""A scheduler that refuses says so in seconds; one that is slower is waited for by the controller."""


class UpError(Exception):
    """Sentinel does not come up or go down; the message is one line."""


def up(settings: config.Settings, path: Path | None = None, *, apply: bool = False) -> list[str]:
    """Start the watchdog, and with it everything else; says where it answers, and what is not in effect.

    With `apply` a watchdog and controller that run already are replaced; ranks and agents go on. That their
    successors can read all that the settings name, and listen here, and that the scheduler answers them, is
    seen before anything is ended. Processes get this one's environment, so that Ray's settings (`RAY_…`)
    reach the ray link. Raises UpError, and ConfigError for what has to be mended in the settings.
    """
    try:
        look_over(settings)
    except config.ConfigError as error:
        said = GOES_ON if apply else NOT_STARTED
        raise config.ConfigError(f"{said}: {config.located(str(error), path)}") from None
    try:
        private.make_folder(settings.cluster.state_dir)
        there = _watchdog(settings)
        if apply and (there or _controller(settings)):
            _look_before_leaving(settings, there)
        replaced = apply and _leave(settings, there)
        if replaced:
            there = None
        elif there is None and settings.job.world:  # who only watches nodes may do without Ray
            _look_for_scheduler(settings)
        watchdog = there or _start(settings, path)
    except OSError as error:
        raise UpError(f"cluster.state_dir: {error}") from None
    try:
        _wait_for_answer(settings, watchdog)
        waits = "" if there or replaced or not settings.job.world else _first_answer(settings)
    except BaseException:  # Ctrl-C, too
        if not there and not replaced:  # a watchdog that replaces one goes on trying, and pages
            _end(watchdog, within_s=10.0)  # nothing is left half started
        raise
    verb = "runs already, with the settings of its start" if there else "started"
    verb = "goes on with these settings" if replaced else verb
    runs = f"{settings.cluster.name} {verb}: {settings.cluster.web_url}, watchdog pid {watchdog.pid}"
    return [runs, *([waits] if waits else []), *_not_in_effect(settings, path, watchdog)]


def _not_in_effect(settings: config.Settings, path: Path | None, watchdog: Running) -> Iterator[str]:
    """Say which settings the controller does not have, and what to type."""
    controller = _controller(settings)
    given = config.effective(path)
    state_dir = settings.cluster.state_dir
    if controller and (others := list(in_effect.differences(state_dir, controller, given))):
        yield "not in effect:"
        yield from (f"  {each}" for each in others)
        yield f"to apply them: {_how_to_apply(watchdog)} (ranks and agents go on)"


def _how_to_apply(watchdog: Running) -> str:
    return f"systemctl restart {unit}" if (unit := running.unit(watchdog)) else "sentinel up --apply"


def _leave(settings: config.Settings, watchdog: Running | None) -> bool:
    """End watchdog and controller, and nothing else; false if there is none. Raises UpError."""
    there = [process for process in (watchdog, _controller(settings)) if process]
    for process in there:
        _end(process, ENDS_WITHIN_S)
    return bool(there)


def _look_before_leaving(settings: config.Settings, watchdog: Running | None) -> None:
    """See that what is to replace the running ones can start from here. Raises UpError."""
    if watchdog and running.unit(watchdog):
        raise UpError(
            f"systemd keeps the watchdog, which has to start it again: {_how_to_apply(watchdog)} "
            "(ranks and agents go on)"
        )
    controller = _controller(settings)
    if elsewhere := next((each for each in (controller, watchdog) if each and _is_elsewhere(each)), None):
        inside = f"nsenter --net=/proc/{elsewhere.pid}/ns/net sentinel up --apply"
        raise UpError(f"{GOES_ON}: pid {elsewhere.pid} runs in another network namespace: {inside}")
    for setting, port in (
        ("web_port", settings.cluster.web_port),
        ("report_port", settings.cluster.report_port),
    ):
        if why := _cannot_bind(settings.cluster.bind, port, controller):
            raise UpError(f"{GOES_ON}: cluster.bind and {setting}, {settings.cluster.bind}:{port}: {why}")
    if settings.job.world:
        _look_for_scheduler(settings, GOES_ON, token=True)


def _is_elsewhere(process: Running) -> bool:
    """Whether it has another network than we: what can be bound there can't be here."""
    with contextlib.suppress(OSError):
        return not Path(f"/proc/{process.pid}/ns/net").samefile("/proc/self/ns/net")
    return False


def _cannot_bind(address: str, port: int, controller: Running | None) -> str:
    """Say why nothing of ours could listen there; empty if it could once the running controller is gone."""
    try:
        family = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE and controller and port in _listens(controller):
            return ""
        return error.strerror or str(error)
    return ""


def _listens(process: Running) -> set[int]:
    """Ports at which it waits for connections."""
    with contextlib.suppress(psutil.Error):
        connections = psutil.Process(process.pid).net_connections("tcp")
        return {each.laddr.port for each in connections if each.status == psutil.CONN_LISTEN}
    return set()


def _look_for_scheduler(settings: config.Settings, said: str = NOT_STARTED, *, token: bool = False) -> None:
    """Say at once that it does not answer, and what to type. Raises UpError."""
    try:
        kind = backends.load(settings.cluster.backend)
        why = kind.unready(settings, token=True) if token else kind.unready(settings)
    except backends.UnknownBackendError as error:
        raise UpError(str(error)) from None
    if why:
        raise UpError(f"{said}: {why}")


def down(settings: config.Settings) -> str:
    """End the jobs, the agents, the watchdog and the controller; says what was ended. Raises UpError."""
    watchdog, controller = _watchdog(settings), _controller(settings)
    if not watchdog and not controller:
        return f"nothing of {settings.cluster.name} runs here"
    with _api(settings) as api:
        try:
            known = api.get("status").raise_for_status().json()["jobs"]
            jobs = [job["job"] for job in known if not job["watched"]]  # whoever started the others ends them
            for job in jobs:
                _say(api, "stop-job", target=job)
            left = _retire(api)
        except httpx.HTTPError as error:
            raise UpError(
                f"no controller answers at {settings.cluster.web_url}, nothing was ended: {error}"
            ) from None
    for process in filter(None, (watchdog, controller)):
        _end(process, ENDS_WITHIN_S)
    return f"{settings.cluster.name} is down: stopped {', '.join(jobs) or 'no job'}, {left}"


# --- processes -----------------------------------------------------------------------------------------


def _start(settings: config.Settings, path: Path | None) -> Running:
    argv = [*private.MODULE, WATCHDOG]
    argv += ["--config", str(path.absolute())] if path else []
    said = settings.cluster.state_dir / "watchdog.log"
    with os.fdopen(private.open_file(said, private.APPEND), "ab") as out:
        started = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    return running.child(started.pid)


def _watchdog(settings: config.Settings) -> Running | None:
    lock = settings.cluster.state_dir / "watchdog.lock"
    found = running.find(lock, WATCHDOG)
    if found is None and _is_held(lock):
        raise UpError(f"{lock}: a watchdog runs that does not say who it is, as of an older release: end it")
    return found


def _is_held(lock: Path) -> bool:
    try:
        descriptor = private.open_file(lock, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _controller(settings: config.Settings) -> Running | None:
    return running.find(settings.cluster.state_dir / "controller.pid", CONTROLLER)


def _end(process: Running, within_s: float) -> None:
    process.send(signal.SIGTERM)
    if not _poll(within_s, lambda: not process.alive):
        raise UpError(f"pid {process.pid} does not end within {within_s:.0f} s of SIGTERM")


def _poll(within_s: float, condition: Callable[[], bool], every_s: float = 0.1) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


# --- the controller ------------------------------------------------------------------------------------


def _wait_for_answer(settings: config.Settings, watchdog: Running) -> None:
    """Return when the controller of this state directory answers. Raises UpError with its last words."""
    seen: set[Running | None] = set()

    def settled() -> bool:
        controller = _controller(settings)
        seen.update({controller} - {None})
        return not watchdog.alive or len(seen) > 1 or _answers(settings, controller)

    logs = settings.cluster.state_dir
    in_time = _poll(STARTS_WITHIN_S, settled)
    if not watchdog.alive:
        raise UpError(f"the watchdog ended: {last_words(logs / 'watchdog.log')}")
    if not in_time or len(seen) > 1:
        raise UpError(f"the controller does not answer: {last_words(logs / 'controller.log')}")


def _first_answer(settings: config.Settings) -> str:
    """Wait for the scheduler's, briefly; says what is waited for still. Raises UpError where it refuses."""
    troubles = [NOT_YET]

    def answered() -> bool:
        with contextlib.suppress(httpx.HTTPError, ValueError, LookupError), _api(settings) as api:
            troubles.append(api.get("status").raise_for_status().json()["ray_trouble"])
        return not troubles[-1].endswith(NOT_YET)

    if not _poll(FIRST_ANSWER_S, answered, every_s=0.2):
        return f"{troubles[-1]}: `sentinel status` says when it does" if len(troubles) > 1 else ""
    if troubles[-1]:
        raise UpError(f"nothing is left running: {troubles[-1]}")
    return ""


def _answers(settings: config.Settings, controller: Running | None) -> bool:
    """Whether this very process serves the pages: another cluster's may answer at the same address."""
    if controller is None:
        return False
    with contextlib.suppress(psutil.Error, httpx.HTTPError):
        connections = psutil.Process(controller.pid).net_connections("tcp")
        if settings.cluster.web_port in {each.laddr.port for each in connections if not each.raddr}:
            healthy = f"{settings.cluster.web_url}/healthz"
            return httpx.get(healthy, timeout=2.0, trust_env=False, verify=NO_TLS).is_success
    return False


def _api(settings: config.Settings) -> httpx.Client:
    headers = {"Authorization": f"Bearer {Keys(settings.cluster.keys_dir).api_token}"}
    url = f"{settings.cluster.web_url}/api/"
    return httpx.Client(base_url=url, headers=headers, timeout=10.0, trust_env=False, verify=NO_TLS)


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
