"""What is left of a run: ONNX, model card, and a page about it."""
