"""The rivals of what worlds are trained and sampled with: what only the study compares."""
