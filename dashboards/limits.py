"""Limits that dashboards and the controller's own pages share, and that no policy or check has."""

from sentinel.checks.all_reduce import FACTOR

LINK_NOTICE = 0.8
"""A pair of nodes with less than this share of what the median node has is worth a look."""
LINK_BAD = 1 / FACTOR
"""With less than this the check of all nodes together calls it slow."""
