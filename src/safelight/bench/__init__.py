"""Benchmarks of Safelight against its peers, side by side in one run, as ratios."""
