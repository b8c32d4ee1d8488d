"""The detector that needs no accelerator: OpenCV, ONNX Runtime, NumPy."""
