"""Decode pictures in child processes."""
