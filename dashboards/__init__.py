"""Grafana dashboards as code: each module with a `BOARD` is one, `json/` has what they make.

Building them needs `grafana-foundation-sdk`, and checking them `promql-parser`:
`pip install 'sentinel-cluster[dashboards]'`. Bringing the committed ones into a Grafana needs neither.
"""
