"""Offline work on models: graph surgery, quantisation, TensorRT engines and their cache."""
