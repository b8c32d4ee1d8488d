"""A run from its first step to its last: settings, ranks, checkpoints, history, validation."""
