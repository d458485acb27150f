"""A real Prometheus and Alertmanager beside a demo, with the rules and routes that Sentinel comes with."""

import errno
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import yaml

from sentinel import dashboards
from sentinel.demo.hosts import Host
from sentinel.demo.sandbox import SandboxError, wait
from sentinel.runtime.last_words import last_words
from sentinel.runtime.plain_http import NO_TLS

RULES = Path(dashboards.__file__).parent / "rules"
PROMETHEUS, ALERTMANAGER = "prometheus", "prometheus-alertmanager"
"""Programs, and the packages of Debian that have them."""
PORTS = {PROMETHEUS: 9090, ALERTMANAGER: 9093}
EVERY = "5s"
"""Scrapes and looks at the rules: a demo's faults are over in seconds."""
READY_S = 60.0


class Monitoring(NamedTuple):
    """Where they answer."""

    prometheus: str
    alertmanager: str


def missing() -> str:
    """Say in one line what to install first; empty when both are there."""
    lacking = [name for name in PORTS if shutil.which(name) is None]
    if not lacking:
        return ""
    return f"not installed here: apt-get install --no-install-recommends {' '.join(lacking)}"


def start(host: Host, web: str) -> Monitoring:
    """Start both on a host, with which they end; `web` is `host:port` of the controller's pages."""
    folder = host.root / "monitoring"
    folder.mkdir()
    ports = {name: _port(host.address, wanted) for name, wanted in PORTS.items()}
    at = {name: f"{host.address}:{port}" for name, port in ports.items()}
    prometheus, alertmanager = folder / "prometheus.yml", folder / "alertmanager.yml"
    prometheus.write_text(yaml.safe_dump(prometheus_config(web, at[ALERTMANAGER])))
    alertmanager.write_text(yaml.safe_dump(alertmanager_config()))
    for argv in (
        alertmanager_argv(alertmanager, folder / "alerts", at[ALERTMANAGER]),
        prometheus_argv(prometheus, folder / "series", at[PROMETHEUS]),
    ):
        log = folder / f"{argv[0]}.log"
        with log.open("ab") as out:
            process = host.run(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        _wait(process, at[argv[0]], log)
    return Monitoring(f"http://{at[PROMETHEUS]}", f"http://{at[ALERTMANAGER]}")


def _wait(process: "subprocess.Popen[Any]", address: str, log: Path) -> None:
    """Return when a program is ready. Raises SandboxError when it ends first, with its last words."""

    def ready() -> bool:
        if process.poll() is not None:
            raise SandboxError(f"{log.stem} ended: {last_words(log)}")
        try:
            url = f"http://{address}/-/ready"
            return httpx.get(url, timeout=2.0, trust_env=False, verify=NO_TLS).is_success
        except httpx.HTTPError:
            return False

    wait(f"{log.stem} at {address}", READY_S, ready)


def prometheus_config(web: str, alertmanager: str) -> dict[str, Any]:
    """Give the example's configuration for this cluster, with a demo's haste."""
    config: dict[str, Any] = yaml.safe_load((RULES / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": EVERY, "evaluation_interval": EVERY}
    config["rule_files"] = [str(RULES / name) for name in config["rule_files"]]
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    config["scrape_configs"][0]["http_sd_configs"] = [{"url": f"http://{web}/sd", "refresh_interval": EVERY}]
    return config


def alertmanager_config() -> dict[str, Any]:
    """Give the example's routes and inhibition, with receivers that tell nobody."""
    config: dict[str, Any] = yaml.safe_load((RULES / "alertmanager.yml").read_text())
    config["receivers"] = [{"name": each["name"]} for each in config["receivers"]]
    return config


def prometheus_argv(config: Path, storage: Path, address: str) -> list[str]:
    """Give the command of a Prometheus that keeps little."""
    options = ["--storage.tsdb.retention.time=1d", "--log.level=warn"]
    where = [f"--storage.tsdb.path={storage}", f"--web.listen-address={address}"]
    return [PROMETHEUS, f"--config.file={config}", *where, *options]


def alertmanager_argv(config: Path, storage: Path, address: str) -> list[str]:
    """Give the command of an Alertmanager that is alone."""
    where = [f"--storage.path={storage}", f"--web.listen-address={address}"]
    return [ALERTMANAGER, f"--config.file={config}", *where, "--cluster.listen-address=", "--log.level=warn"]


def _port(address: str, wanted: int) -> int:
    """Give the port that people expect, or a free one where somebody else has it."""
    for port in (wanted, 0):
        try:
            with socket.create_server((address, port)) as free:
                return int(free.getsockname()[1])
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:  # the host's network is another one, where nobody is yet
                break
    return wanted
