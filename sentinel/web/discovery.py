"""Whom Prometheus is to scrape, in the form of its HTTP and file service discovery."""

from typing import Any

from sentinel.web.view import Status

Targets = list[dict[str, Any]]
"""`[{"targets": ["host:port"], "labels": {...}}]`, https://prometheus.io/docs/prometheus/latest/http_sd/"""


def targets(status: Status, controller: str) -> Targets:
    """Give the controller, as it is called from there, and every agent that serves metrics.

    A silent node stays, so that its `up` is 0; one that was retired goes. No label is one that a series has
    itself: Prometheus would rename the series'.
    """
    agents = (
        {"targets": [node.metrics], "labels": {"component": "agent", "node": node.node}}
        for node in status.nodes
        if node.metrics
    )
    return [{"targets": [controller], "labels": {"component": "controller"}}, *agents]
