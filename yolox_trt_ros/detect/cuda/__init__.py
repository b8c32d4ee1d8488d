"""The detector of cuda lanes: own kernels around an inference backend, through CuPy."""
