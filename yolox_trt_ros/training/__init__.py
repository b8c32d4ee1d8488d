"""Training of detectors; needs the extra ``[train]``; only its tool imports it."""
