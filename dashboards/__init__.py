"""Dashboards and alert rules as code, importable as `sentinel.dashboards`."""
