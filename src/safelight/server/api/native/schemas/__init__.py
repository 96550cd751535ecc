"""Pydantic schemas of the native API, as its OpenAPI document shows them."""
