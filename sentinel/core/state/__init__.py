"""What is known of nodes, jobs, workers and incidents, and the rules by which decisions are made."""

from sentinel.core.state.cluster import State, is_other
from sentinel.core.state.rules import Rules

__all__ = ["Rules", "State", "is_other"]
