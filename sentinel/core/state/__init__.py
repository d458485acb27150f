"""What is known of nodes, jobs, workers and incidents, and the rules by which decisions are made."""

from sentinel.core.state.cluster import State
from sentinel.core.state.rules import Rules

__all__ = ["Rules", "State"]
