"""Sentinel on real GPUs: what its probes cost and find, and what becomes of a job whose ranks end."""
