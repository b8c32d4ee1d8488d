"""Recorded drives through real topics: played, in lockstep, and recorded."""
