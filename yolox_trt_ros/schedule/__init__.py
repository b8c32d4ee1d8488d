"""Which frame runs where and when; the same code drives the real lanes and the simulation."""
