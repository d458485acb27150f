"""Reports and time in, facts out: silent nodes, stalls, stragglers, and who is behind."""
