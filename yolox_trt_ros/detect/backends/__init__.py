"""Backends: one module for each library that runs a network."""
