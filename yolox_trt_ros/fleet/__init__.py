"""Many recorded drives at once: planned, cut into segments, detected, kept as Parquet tables."""
