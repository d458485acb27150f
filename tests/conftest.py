"""What all tests share."""

import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import settings

# CI judges a change by the same examples each time; everywhere else every run looks at new ones.
settings.register_profile("ci", derandomize=True)
settings.register_profile("search", max_examples=20_000)  # see CONTRIBUTING
if os.environ.get("CI"):
    settings.load_profile("ci")

# A shell that runs tests in the background has SIGINT ignored, and so would everything that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail what only root can test where root skips it in CI: a skip there is no pass."""
    report = yield
    if report.skipped and item.get_closest_marker("root") and os.environ.get("CI") and os.geteuid() == 0:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI as root: {report.longrepr}"
    return report
