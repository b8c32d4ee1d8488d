"""ONNX graphs: their tensors, and what their ends compute."""
