"""How a network runs: backends, precision, and the probe that chooses among them."""
