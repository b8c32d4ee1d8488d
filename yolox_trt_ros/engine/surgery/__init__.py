"""Rewrite a YOLOX for DLA without changing what it computes."""

RENAMED_KEY = 'yolox_trt_ros.renamed'
"""ONNX metadata: what the head's maps were called before the cut, JSON {new name: old name}."""
