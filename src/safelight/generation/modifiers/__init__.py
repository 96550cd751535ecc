"""Modifiers: what changes the denoiser calls of a run, such as guidance."""
