"""Heads that give final boxes: suppressed inside the graph, or by networks that need none."""
