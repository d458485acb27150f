"""Which node, link or rack is slow: the localiser on simulated fabrics, beside the rule of another project."""
