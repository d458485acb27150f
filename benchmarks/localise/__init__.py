"""Which node, link or rack is slow: the localiser on simulated fabrics, beside a rule of two rounds."""
