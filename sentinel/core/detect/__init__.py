"""Reports and time in, facts out: silence, stalls, stragglers, and who is behind."""
