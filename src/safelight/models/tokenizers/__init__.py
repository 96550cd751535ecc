"""Tokenizers of text encoders."""
