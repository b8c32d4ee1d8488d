"""Models that others have published: which there are, how they are fetched, where they are kept."""
