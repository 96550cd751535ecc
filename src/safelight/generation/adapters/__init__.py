"""Adapters of a picture: how strong they are at each step, which files they are, what they change.

``modifiers/adapters.py`` puts them into effect. Reading their files is ``models/adapters``.
"""
