"""Gauges in one line each."""

from collections.abc import Mapping

from prometheus_client.core import GaugeMetricFamily


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    """Give a gauge without labels."""
    return GaugeMetricFamily(f"sentinel_{name}", text, value=float(value))


def labelled(name: str, text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """Give a gauge with a series for each value of one label."""
    family = GaugeMetricFamily(f"sentinel_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family
