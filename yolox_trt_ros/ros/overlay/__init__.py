"""Overlays: drawn pictures of the cameras, made while somebody looks."""
