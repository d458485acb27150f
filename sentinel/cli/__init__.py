"""The `sentinel` command; what a command needs is imported when it runs, so that `--help` is quick."""

from sentinel.cli import (
    check,
    dashboards,
    logbook,
    logs,
    operate,
    probe,
    report,
    runbooks,
    tools,
    trust,
)
from sentinel.cli.frame import Command, app

for each in app.registered_commands:
    each.cls = Command

__all__ = [
    "app",
    "check",
    "dashboards",
    "logbook",
    "logs",
    "operate",
    "probe",
    "report",
    "runbooks",
    "tools",
    "trust",
]
