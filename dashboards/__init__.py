"""Grafana dashboards as code: each module with a `BOARD` is one, `json/` has what they make.

Building them needs `grafana-foundation-sdk`, checking them `promql-parser`, and bringing them into a Grafana
`grafana-client`: `pip install 'sentinel-cluster[dashboards]'`.
"""
