"""A cluster on one machine, faults that really happen to it, and the live view."""
