"""Seconds from a fault in one rank to the first training step beyond it, contender by contender."""
