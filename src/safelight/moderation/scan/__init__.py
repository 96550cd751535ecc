"""Scan many images: find, judge, write to a journal, resume, and report."""
