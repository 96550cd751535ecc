"""The HTTP APIs, one package per family, and what the families share."""
