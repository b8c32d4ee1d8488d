"""The data that crosses the package's borders; standard library and NumPy only."""
