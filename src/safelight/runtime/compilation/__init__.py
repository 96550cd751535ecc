"""Compiled forms of torch networks: one for each shape of a call, made beside the eager network and kept on disk."""
