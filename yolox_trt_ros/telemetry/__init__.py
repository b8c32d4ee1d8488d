"""Rates, percentiles and health, from finished traces and snapshots of the pipeline."""
