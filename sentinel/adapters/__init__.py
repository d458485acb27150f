"""One file per outside system, real or simulated."""
