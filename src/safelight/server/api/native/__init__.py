"""Our own API: one file of routes per group of paths."""
