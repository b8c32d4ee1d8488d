"""Networks by the name of their design, in PyTorch, and weights that are put into them."""
