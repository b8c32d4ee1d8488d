"""Families of detector heads: how each is recognised and read."""
