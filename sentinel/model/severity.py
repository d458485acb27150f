"""How urgent an incident is to people."""

from enum import StrEnum


class Severity(StrEnum):
    """Grades as alerting systems name them, the most urgent first."""

    CRITICAL = "critical"
    """Somebody's hand is needed now."""
    WARNING = "warning"
    """Somebody should look, within working hours: a node awaits repair, or it may come again."""
    INFO = "info"
    """It is repaired without anybody, and nothing is left to do."""
