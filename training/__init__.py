"""Training of the packaged models; an extra that the package itself never imports."""
