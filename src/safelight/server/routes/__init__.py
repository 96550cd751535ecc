"""Routes: one file per group of paths."""
