"""Modifiers: each file changes how a pass conditions or computes its denoiser calls; ``registry.py`` lists them."""
