"""Training: every bundled weight can be made again from here."""
