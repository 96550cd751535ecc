"""Classifiers on this machine."""
