"""Classifiers: loading, preprocessing, conversion and export."""
