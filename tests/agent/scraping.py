"""Reads an agent's metrics as Prometheus does."""

import urllib.request

from prometheus_client.parser import text_string_to_metric_families

from sentinel.model.check import Series, series


def page(port: int, accept: str = "") -> tuple[str, str]:
    """The content type and the text of `/metrics`."""
    asked = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(asked) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def scrape(port: int) -> dict[Series, float]:
    """Every value by its series, named without the prefix and the cluster that all of them name."""
    return {
        series(sample.name.removeprefix("sentinel_"), **_without_cluster(sample.labels)): sample.value
        for family in text_string_to_metric_families(page(port)[1])
        for sample in family.samples
    }


def _without_cluster(labels: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name != "cluster"}
