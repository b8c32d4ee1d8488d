"""Video: files, streams of packets, their decoders and encoders. PyAV is imported here alone."""
