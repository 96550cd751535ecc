"""How a network runs: backends, precision, and the probe that chooses between them."""
