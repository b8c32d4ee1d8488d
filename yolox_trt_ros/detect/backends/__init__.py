"""What runs a network: one module per inference library."""
