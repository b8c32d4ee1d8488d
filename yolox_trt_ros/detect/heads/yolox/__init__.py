"""YOLOX: per stride a map of boxes, of objectness and of classes."""
