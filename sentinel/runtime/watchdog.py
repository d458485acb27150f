"""Restarts a controller that ends or hangs, feeds a dead-man's switch, pages when restarting is no help."""

import argparse
import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx
import structlog

from sentinel import config, logs, private
from sentinel.adapters import journal_file
from sentinel.adapters.keys import KeyFileError, Keys
from sentinel.model.action import Page, action_id
from sentinel.model.ids import IncidentId, Seconds
from sentinel.model.severity import Severity
from sentinel.ready import is_ready, ready_of
from sentinel.redact import remember
from sentinel.runtime import running
from sentinel.runtime.health import Health
from sentinel.runtime.last_words import tail_of
from sentinel.runtime.over import NOBODY_REPAIRS
from sentinel.runtime.plain_http import NO_TLS
from sentinel.runtime.running import CONTROLLER, Running
from sentinel.runtime.watchdog_pages import WatchdogPages

log = structlog.get_logger(logger_name="watchdog")

RESTART_AFTER_S = 0.2
HEALTHY_AFTER_S = 10.0
"""One that lived this long from its first answer on counts as started; shorter lives double the wait.

How long it was there before says nothing: on a crowded machine it takes long to fail as well.
"""
LONGEST_WAIT_S = 10.0
HOPELESS = 5
"""Short lives in a row that are paged: neither restarting nor waiting helps."""
SWITCH_EVERY_S = 60.0
LAST_WORDS = 5
"""Different lines of the controller's log that a page tells."""
DAMAGED = ("is damaged: ", "not a journal: ", journal_file.HINT)
"""How the controller's last words say that its journal can't be read."""
RESTORE = """Training goes on. To restore the journal (the manual: "When the journal is damaged"):
1. cd {state_dir} && mkdir damaged && cp -p journal.db* damaged/
2. if there is a copy of journal.db, -wal and .head of one moment: rm journal.db* && cp -p COPY/journal.db* .
   if there is none: rm journal.db*; a new journal goes on from the job's newest state
3. wait 10 s: the watchdog starts the controller, with all actions frozen where something is missing
4. sentinel status; drain again what was out of order; sentinel resume-actions"""
ENDS_WITHIN_S = 5.0
"""A killed process that is there still waits for a disk or a driver."""
RELAPSE_S = 600.0
"""One that hangs after less than this hangs again."""
END_EVERY_S = 60.0
"""A page that can't be resolved now is tried again."""
HANGS = 2
"""Hangs in a row that are paged: another controller did not help."""

DOES_NOT_START = "Sentinel's controller does not start", f"{HOPELESS} restarts in a row did not help."
HANGS_AGAIN = "Sentinel's controller hangs again", f"{HANGS} in a row did not answer and were killed."
"""Title and text of a page."""


class Life(NamedTuple):
    """What became of one controller."""

    healthy_s: Seconds = 0.0
    """From its first answer to its end; 0 for one that never answered."""
    hung: bool = False


class Watchdog:
    """Keeps one controller alive. Its own death leaves the controller running."""

    def __init__(self, settings: config.Settings, path: Path | None) -> None:
        self._settings = settings
        self._argv = [*private.MODULE, CONTROLLER]
        self._argv += ["--config", str(path)] if path else []
        self._pid_file = settings.cluster.state_dir / "controller.pid"
        self._log = settings.cluster.state_dir / "controller.log"
        self._child: Running | None = None
        self._told = os.eventfd(0)
        """Readable once somebody wants this to end: that is waited for as a controller's end is."""
        self._short_lives = self._hangs = 0
        self._fed = -SWITCH_EVERY_S
        self._feeding = threading.Thread()
        self._pages = WatchdogPages(settings)
        self._ending, self._end_at = threading.Thread(), 0.0
        self._paged = True
        """There may be pages to resolve: the watchdog before this one may have left some."""
        remember(*_secrets(settings))

    def run(self) -> None:
        """Watch until told to stop; then stop the controller too.

        Raises OSError, before anything is started, for a state directory in which others may write.
        """
        private.make_folder(self._settings.cluster.state_dir)
        pause = 0.0
        with self._only_one():
            while not self._is_told(pause):
                life = self._watch_one()
                if not self._is_told():
                    self._count(life)
                pause = _pause(self._short_lives)
            with contextlib.suppress(OSError):
                self._pid_file.unlink(missing_ok=True)

    def stop(self, *_: object) -> None:
        """Have `run` stop the controller and return; for signal handlers, wherever in the code they run.

        That is why nothing is raised: an exception is lost where it hits a destructor.
        """
        os.eventfd_write(self._told, 1)

    def _is_told(self, within_s: Seconds = 0.0) -> bool:
        return is_ready(self._told, within_s)

    def _watch_one(self) -> Life:
        """Watch a controller to its end. One that can't even be started had a short life."""
        try:
            return self._outlive(self._adopt() or self._start())
        except OSError as error:  # a read-only disk, no process or descriptor to be had: it may pass
            log.error("controller-not-started", error=str(error))
            return Life()

    def _count(self, life: Life) -> None:
        """Count what restarting has not helped against, and page once when that is enough."""
        self._short_lives = self._short_lives + 1 if life.healthy_s < HEALTHY_AFTER_S else 0
        log.warning("controller-ended", short_lives=self._short_lives, hung=life.hung)
        if self._short_lives == HOPELESS:
            self._tell(*DOES_NOT_START)
        if life.hung:
            self._hangs = self._hangs + 1 if life.healthy_s < RELAPSE_S else 1
            if self._hangs == HANGS:
                self._tell(*HANGS_AGAIN)

    @contextlib.contextmanager
    def _only_one(self):  # type: ignore[no-untyped-def]  # noqa: ANN202
        path = self._settings.cluster.state_dir / "watchdog.lock"
        with os.fdopen(private.open_file(path, os.O_RDWR | os.O_CREAT), "r+b", buffering=0) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                sys.exit(f"sentinel watchdog: {path}: another watchdog runs")
            with contextlib.suppress(OSError):  # the lock counts, not the note; the disk may be full
                lock.truncate(0)
                lock.write(running.text_of(running.child(os.getpid())))
            yield

    def _adopt(self) -> Running | None:
        """Take over a controller that another watchdog started, or lost sight of."""
        return running.find(self._pid_file, CONTROLLER) or self._child

    def _start(self) -> Running:
        with os.fdopen(private.open_file(self._log, private.APPEND), "ab") as out:
            started = subprocess.Popen(
                self._argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        self._child = running.child(started.pid)
        with contextlib.suppress(OSError):  # on a full disk only a next watchdog can't adopt it
            running.write(self._pid_file, self._child)
        log.info("controller-started", pid=started.pid)
        return self._child

    def _outlive(self, controller: Running) -> Life:
        """Return when the controller is gone; one that hangs is killed. Feed the switch meanwhile.

        Told to stop, ask the controller to end, too.
        """
        health, hung = Health(f"{self._settings.cluster.web_url}/healthz", controller.age), False
        answered = float("inf")
        try:
            with contextlib.suppress(ProcessLookupError), controller.held() as handle:
                awaited = {handle, self._told}
                while handle not in (ready := ready_of(awaited, 1.0)):
                    if self._told in ready:
                        controller.send(signal.SIGTERM)
                        awaited.remove(self._told)
                    self._feed_aside()
                    health.ask_aside()
                    if health.answers:
                        answered = min(answered, time.monotonic())
                        self._end_pages_aside(time.monotonic() - answered)
                    if health.hangs and not hung:
                        hung = True
                        self._kill(controller, handle)
        finally:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(controller.pid, os.WNOHANG)
            self._child = None
        return Life(max(0.0, time.monotonic() - answered), hung)

    def _kill(self, controller: Running, handle: int) -> None:
        """End one that hangs. No other is started before it is gone: two would act at once."""
        log.error("controller-hangs", pid=controller.pid)
        controller.send(signal.SIGKILL)
        if not is_ready(handle, ENDS_WITHIN_S):
            body = (
                f"Pid {controller.pid} does not answer and can't be killed: it waits for a disk or a driver."
            )
            self._tell("Sentinel's controller hangs", f"{body} No other is started before it is gone.")

    def _feed_aside(self) -> None:
        """Feed it in a thread: a switch that answers slowly keeps nobody from seeing the controller's end."""
        if not self._feeding.is_alive():
            self._feeding = threading.Thread(target=self._feed, daemon=True)
            self._feeding.start()

    def _feed(self) -> None:
        """Feed the switch in the name of a controller that answers: one that hangs watches nothing."""
        cluster = self._settings.cluster
        if not cluster.dead_man_switch or time.monotonic() - self._fed < SWITCH_EVERY_S:
            return
        try:
            healthy = f"{cluster.web_url}/healthz"
            httpx.get(healthy, timeout=2.0, trust_env=False, verify=NO_TLS).raise_for_status()
            self._fed = time.monotonic()
            with httpx.stream("POST", cluster.dead_man_switch, timeout=5.0) as answer:  # of any length
                answer.raise_for_status()
        except Exception as error:  # such as a port that there is not: the controller comes first
            log.warning("switch-not-fed", error=f"{type(error).__name__}: {error}")

    def _tell(self, title: str, why: str) -> None:
        """Page; what keeps the controller down may also keep pages, and must not end the watching."""
        self._paged = True
        try:
            self._pages.tell(self._words(title, why))
        except Exception as error:
            log.error("not-paged", error=f"{type(error).__name__}: {error}")

    def _end_pages_aside(self, healthy_s: Seconds) -> None:
        """Resolve what is paged, by whichever watchdog, once a controller answers and is no short life."""
        proven = RELAPSE_S if self._hangs >= HANGS else HEALTHY_AFTER_S
        if (
            not self._paged
            or healthy_s < proven
            or time.monotonic() < self._end_at
            or self._ending.is_alive()
        ):
            return
        self._end_at = time.monotonic() + END_EVERY_S
        self._ending = threading.Thread(target=self._end_pages, daemon=True)
        self._ending.start()

    def _end_pages(self) -> None:
        try:
            self._paged = not self._pages.end()
        except Exception as error:
            log.error("not-resolved", error=f"{type(error).__name__}: {error}")

    def _words(self, title: str, why: str) -> Page:
        state_dir, job = self._settings.cluster.state_dir, self._settings.job
        name = IncidentId(f"watchdog-{int(time.time())}")
        lines = logs.last_words("\n".join(tail_of(self._log))).splitlines()
        newest = list(dict.fromkeys(reversed(lines)))[:LAST_WORDS]  # each restart says the same again
        said = "\n".join(reversed(newest))
        body = f"{why} Its last words:\n{said}"
        if any(words in said for words in DAMAGED):
            body += f"\n{RESTORE.format(state_dir=state_dir)}"
        body += f"\nJob: {job.name} goes on{NOBODY_REPAIRS}" if job.world else ""
        body += f"\nAsked of you: to see why, in {self._log}"
        page = action_id(name, "page", "on-call", 1)
        return Page(page, name, 1, title, body, "open", severity=Severity.CRITICAL.value)


def _secrets(settings: config.Settings) -> Iterator[str]:
    """Give what must not be told: the switch's address is all that it takes to feed it."""
    switch = urlsplit(settings.cluster.dead_man_switch)
    yield from (switch.path.strip("/"), switch.query, switch.password or "", switch.username or "")
    with contextlib.suppress(config.ConfigError):
        yield settings.pages.token()
    with contextlib.suppress(KeyFileError, OSError):
        yield Keys(settings.cluster.keys_dir).api_token


def _pause(short_lives: int) -> Seconds:
    doublings = min(max(0, short_lives - 1), 30)  # a float overflows at 2.0 ** 1024
    return min(LONGEST_WAIT_S, RESTART_AFTER_S * 2.0**doublings)


def main() -> None:
    """Run the watchdog."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, help="sentinel.toml")
    arguments = parser.parse_args()
    os.umask(private.UMASK)
    logs.to_stdout()
    try:
        watchdog = Watchdog(config.load(arguments.config), arguments.config)
    except config.ConfigError as error:
        sys.exit(logs.last_words(f"sentinel watchdog: {error}"))
    signal.signal(signal.SIGTERM, watchdog.stop)
    signal.signal(signal.SIGINT, watchdog.stop)
    try:
        watchdog.run()
    except OSError as error:  # before there was anything to watch
        sys.exit(logs.last_words(f"sentinel watchdog: {error}"))


if __name__ == "__main__":
    main()
