"""From frames to detections: preprocessing, inference, decode and NMS."""
