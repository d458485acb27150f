"""`sentinel.toml` and the environment: what can be set, how it is read, and what is in effect."""

from sentinel.config.in_effect import Effective, effective, keys, located
from sentinel.config.reading import load, source
from sentinel.config.tables import (
    RESTART,
    Checks,
    Cluster,
    ConfigError,
    Job,
    Pages,
    Ray,
    Receiver,
    Route,
    Settings,
    Table,
    nearest,
    read_secret,
    valid,
)

__all__ = [
    "RESTART",
    "Checks",
    "Cluster",
    "ConfigError",
    "Effective",
    "Job",
    "Pages",
    "Ray",
    "Receiver",
    "Route",
    "Settings",
    "Table",
    "effective",
    "keys",
    "load",
    "located",
    "nearest",
    "read_secret",
    "source",
    "valid",
]
