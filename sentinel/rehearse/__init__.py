"""What would Sentinel do? Scenarios through the real readers, checks, detector and fold in virtual time."""
