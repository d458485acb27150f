"""What all tests share."""

import ctypes
import gc
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pynvml
import pytest
from depth import DEEP
from hypothesis import HealthCheck, settings

from sentinel import logs
from sentinel.demo import nvml as stand_in

# CI judges a change by the same examples each time; everywhere else every run looks at new ones. How long one
# takes says more of what else the machine does.
settings.register_profile(
    "here", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("here"), derandomize=True)
settings.register_profile("search", settings.get_profile("here"), max_examples=20_000)  # see CONTRIBUTING
USUAL = "ci" if os.environ.get("CI") else "here"
settings.register_profile(DEEP, settings.get_profile(USUAL), max_examples=500)  # `make soak`
settings.load_profile(USUAL)

# As our processes do: by itself structlog spells out every variable of a traceback.
logs.to_stdout(alone=False)

# A shell that runs tests in the background has SIGINT ignored, and so would everything that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without looking for garbage, and never look through ten thousand tests for it again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the property tests: the more examples, the more they find."""
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker("soak")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail what only root can test, or have installed, where root skips it in CI: a skip there is no pass."""
    report = yield
    roots = item.get_closest_marker("root") or item.get_closest_marker("prometheus")
    if report.skipped and roots and os.environ.get("CI") and os.geteuid() == 0:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI as root: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def nvml_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the stand-in for NVIDIA's management library."""
    try:
        return stand_in.build(tmp_path_factory.mktemp("nvml"))
    except stand_in.StandInError as error:
        pytest.skip(str(error))


@pytest.fixture
def driver(nvml_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> stand_in.StandIn:
    """Give two healthy GPUs behind the library that this process, and what it starts, finds."""
    described = stand_in.StandIn(tmp_path / "gpus", 2)
    for name, value in stand_in.environment(nvml_library, described.file).items():
        monkeypatch.setenv(name, value)
    library = ctypes.CDLL(str(nvml_library))
    while library.nvmlShutdown() == pynvml.NVML_SUCCESS:  # tests before may have left it started
        pass
    monkeypatch.setattr(pynvml, "nvmlLib", library)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    return described
