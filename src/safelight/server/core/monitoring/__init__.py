"""What administrators see of the running server: metrics, memory, log."""
