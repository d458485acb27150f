"""What an agent exports is a page that Prometheus reads, whatever the values and their labels are."""

import math
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from scraping import page, scrape

from sentinel.checks import host, volumes
from sentinel.checks._volume_pool import Answer, Volume
from sentinel.model.check import Series, series
from sentinel.runtime.agent.metrics import ELSEWHERE, HELP, MetricsServer
from sentinel.runtime.agent.settings import parse

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def test_series_name_the_cluster_of_the_memory_directory() -> None:
    argv = ["--controller", "tcp://a:1", "--keys", "/k", "--node", "n1", "--memory"]
    assert parse([*argv, "/dev/shm/sentinel-blue/n1"]).cluster == "blue"
    assert parse([*argv, "/somewhere/n1"]).cluster == ""
    server = MetricsServer("127.0.0.1", 0, lambda: {series("gpu_present", gpu=1): 1.0}, "blue")
    try:
        assert 'sentinel_gpu_present{cluster="blue",gpu="1"} 1.0' in page(server.port)[1]
    finally:
        server.close()


@contextmanager
def serving(values: Mapping[Series, float]) -> Iterator[int]:
    """A server of these values; gives its port."""
    server = MetricsServer("127.0.0.1", 0, lambda: values)
    try:
        yield server.port
    finally:
        server.close()


def test_series_stand_with_their_family_its_type_and_its_help() -> None:
    values = {
        series("xid_events_total", xid=79, gpu=1): 2,
        series("host_load1"): 0.5,
        series("xid_events_total", xid=79, gpu=0): 0,
        series("fan_speed", fan="left"): 900,
    }
    with serving(values) as port:
        kind, text = page(port)
        assert scrape(port) == values
    assert kind.startswith("text/plain; version=")
    assert text.splitlines() == [
        f"# HELP sentinel_fan_speed {ELSEWHERE}",
        "# TYPE sentinel_fan_speed gauge",
        'sentinel_fan_speed{fan="left"} 900.0',
        f"# HELP sentinel_host_load1 {HELP['host_load1']}",
        "# TYPE sentinel_host_load1 gauge",
        "sentinel_host_load1 0.5",
        f"# HELP sentinel_xid_events_total {HELP['xid_events_total']}",
        "# TYPE sentinel_xid_events_total counter",
        'sentinel_xid_events_total{gpu="0",xid="79"} 0.0',
        'sentinel_xid_events_total{gpu="1",xid="79"} 2.0',
    ]


def test_who_asks_for_openmetrics_gets_it() -> None:
    with serving({series("oom_kills_total"): 3, series("host_load1"): 0.5}) as port:
        kind, text = page(port, accept=OPENMETRICS)
    assert kind.startswith("application/openmetrics-text")
    families = {family.name: family for family in openmetrics.text_string_to_metric_families(text)}
    assert [sample.value for sample in families["sentinel_oom_kills"].samples] == [3]


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(1_234_567.0, id="a counter above a million"),
        pytest.param(17_179_869_185, id="bytes"),
        pytest.param(0.1234567891, id="a ratio"),
        pytest.param(math.inf, id="without bounds"),
    ],
)
def test_every_digit_of_a_metric_is_told(value: float) -> None:
    with serving({series("x"): value}) as port:
        assert scrape(port) == {series("x"): value}


def test_no_number_is_told_as_none() -> None:
    with serving({series("x"): math.nan}) as port:
        assert math.isnan(scrape(port)[series("x")])


@pytest.mark.parametrize("text", ["", "a", 'a"b', "a\\", "a\nb", "}", ",", "{=", "é"])
def test_a_label_may_hold_any_text(text: str) -> None:
    values = {series("x_total", first=text, second=text): 1}
    with serving(values) as port:
        assert scrape(port) == values


@pytest.mark.parametrize("path", ["/data", '/a "b"', "/back\\slash", "/two\nlines", "/brace}{=,", "/ñ"])
def test_a_volume_may_have_any_name(path: str) -> None:
    with serving(volumes.metrics([Volume(path, Answer(100, 50))])) as port:
        found = scrape(port)
    assert found[series("host_disk_free_bytes", path=path)] == 50


def test_a_share_is_told_as_a_ratio() -> None:
    with serving(host.metrics(host.HostSample(2, 1, 0.5, 8, 12.5))) as port:
        assert scrape(port)[series("host_cpu_pressure_ratio")] == 0.125


def test_a_name_that_is_no_text_spoils_no_page() -> None:
    with serving({series("host_disk_free_bytes", path="/\udcff"): 50, series("host_load1"): 0.5}) as port:
        text = page(port)[1]
    assert {family.name for family in text_string_to_metric_families(text)} == {
        "sentinel_host_disk_free_bytes",
        "sentinel_host_load1",
    }


def test_a_port_that_is_taken_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        MetricsServer("127.0.0.1", taken.getsockname()[1], dict)


def test_whoever_hangs_up_or_talks_nonsense_ends_nobody() -> None:
    with serving({series("host_load1"): 0.5}) as port:
        for said in (b"", b"GET", b"\xff\xff\r\n\r\n", b"GET /metrics HTTP/1.1\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(said)
        assert scrape(port) == {series("host_load1"): 0.5}


def test_every_series_of_a_check_says_what_it_is() -> None:
    said = "".join(file.read_text() for file in Path(host.__file__).parent.glob("*.py"))
    named = set(re.findall(r'series\(\s*"(\w+)"', said)) | set(re.findall(r"^\s+(gpu_\w+)=", said, re.M))
    assert len(named) > 50
    assert named <= HELP.keys()
