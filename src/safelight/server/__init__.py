"""The server: three API families on one queue."""
