"""Which detection of an image is the object of the image before."""
