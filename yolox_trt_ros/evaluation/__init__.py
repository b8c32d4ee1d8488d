"""Results against truth: who reads results, the join by stamp, matching, metrics."""
