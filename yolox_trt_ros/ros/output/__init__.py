"""Messages out: building, serialising and publishing results and simulated images."""
