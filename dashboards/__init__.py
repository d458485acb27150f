"""The place of dashboards and alert rules as code, importable as `sentinel.dashboards`; there is none yet."""
