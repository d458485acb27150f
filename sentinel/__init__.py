"""Sentinel keeps a large training run alive: it sees the failure, names the node and resumes the run."""

__version__ = "0.1.0"
