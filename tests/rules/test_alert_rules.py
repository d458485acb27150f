"""The rules for Prometheus: promtool takes them, each alert fires and is over again, and says what to do."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sentinel.dashboards import alert_pages
from sentinel.model.ids import Cause
from sentinel.model.severity import Severity
from sentinel.runbooks import RunbookError, prose

ROOT = Path(__file__).parents[2]
RULES = ROOT / "sentinel" / "dashboards" / "rules"
SUFFIXES = ("_bucket", "_sum", "_count")

needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="no promtool: apt-get install --no-install-recommends prometheus"
)
needs_amtool = pytest.mark.skipif(
    not shutil.which("amtool"),
    reason="no amtool: apt-get install --no-install-recommends prometheus-alertmanager",
)


def rules() -> list[dict[str, Any]]:
    files = (RULES / "alerts.yml", RULES / "recording.yml")
    return [
        rule
        for file in files
        for group in yaml.safe_load(file.read_text())["groups"]
        for rule in group["rules"]
    ]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def passes(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.prometheus
@needs_promtool
@pytest.mark.parametrize("file", ["alerts.yml", "recording.yml"])
def test_promtool_takes_the_rules(file: str) -> None:
    passes("promtool", "check", "rules", "--lint-fatal", str(RULES / file))


@pytest.mark.prometheus
@needs_promtool
@pytest.mark.parametrize("file", ["alerts.yml", "recording.yml"])
def test_the_rules_do_with_series_what_they_say(file: str) -> None:
    passes("promtool", "test", "rules", str(RULES / "tests" / file))


@pytest.mark.prometheus
@needs_promtool
def test_promtool_takes_the_example_of_a_prometheus() -> None:
    passes("promtool", "check", "config", "--lint-fatal", str(RULES / "prometheus.yml"))


@pytest.mark.prometheus
@needs_amtool
def test_amtool_takes_the_example_of_an_alertmanager() -> None:
    passes("amtool", "check-config", str(RULES / "alertmanager.yml"))


def test_each_alert_is_seen_quiet_firing_and_over_again() -> None:
    tests = yaml.safe_load((RULES / "tests" / "alerts.yml").read_text())["tests"]
    seen: dict[str, list[bool]] = {}
    for each in tests:
        for look in each["alert_rule_test"]:
            seen.setdefault(look["alertname"], []).append(bool(look["exp_alerts"]))
    assert seen == {name: [False, True, False] for name in ALERTS}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_how_urgent_it_is_what_is_wrong_and_what_to_read(name: str) -> None:
    alert = ALERTS[name]
    said = alert["annotations"]
    assert alert["labels"]["severity"] in list(Severity)
    assert said.keys() == {"summary", "description", "runbook_url"}
    page = said["runbook_url"].rpartition("/runbook/")[2]
    assert read(page)
    if page.startswith("alert-"):
        assert f"`{name}`" in read(page)


def read(page: str) -> str:
    try:
        return prose(Cause(page))
    except RunbookError:
        return alert_pages.prose(page) or ""


def test_each_page_of_an_alert_has_one_and_names_no_other() -> None:
    for file in alert_pages.FOLDER.glob("*.md"):
        named = re.findall(r"`(Sentinel\w+)`", file.read_text())
        assert named
        assert set(named) <= ALERTS.keys()
        assert all(ALERTS[name]["annotations"]["runbook_url"].endswith(f"/{file.stem}") for name in named)


def test_rules_ask_for_series_that_there_are() -> None:
    served = set(re.findall(r"^\| `(sentinel_\w+)`", (ROOT / "docs" / "metrics.md").read_text(), re.M))
    for rule in rules():
        for name in re.findall(r"(?<![\w:])sentinel_\w+", rule["expr"]):
            bare = next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), name)
            assert {name, bare} & served, (rule, name)
