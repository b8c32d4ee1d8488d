"""Rewrite a YOLOX for DLA without changing what it computes."""
