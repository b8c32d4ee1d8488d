"""Results against truth: reading results, joining by stamp, matching, metrics."""
