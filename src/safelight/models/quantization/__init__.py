"""Quantize a checkpoint: measure which layers bear it, and write the others packed."""
