"""Pictures for people: boxes, captions, the mosaic of all cameras."""
